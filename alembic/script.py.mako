"""${message}

Runs while the release before it still serves: add columns as nullable or with a constant default,
create indexes on large tables CONCURRENTLY (in an autocommit block), drop only what no running
release reads. A lock that is not had within seconds fails the migration; run it again then.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
