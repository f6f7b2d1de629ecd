"""Identities and their nonces, networks that are known, names that stay reserved, recovery."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("linked_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("identities_pkey")),
    )
    op.create_index(op.f("identities_user_id_idx"), "identities", ["user_id"])
    op.create_table(
        "login_nonces",
        sa.Column("nonce_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("redeemed_at", MOMENT, nullable=True),
        sa.Column("redeemed_session_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(redeemed_at IS NULL) = (redeemed_session_id IS NULL)",
            name=op.f("login_nonces_redeemed_check"),
        ),
        sa.PrimaryKeyConstraint("nonce_hash", name=op.f("login_nonces_pkey")),
    )
    op.create_index(op.f("login_nonces_expires_at_idx"), "login_nonces", ["expires_at"])
    op.create_table(
        "known_networks",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("last_success_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "network", name=op.f("known_networks_pkey")),
    )
    op.add_column("usernames", sa.Column("reserved_until", MOMENT, nullable=True))
    op.add_column(
        "user_sessions",
        sa.Column("is_recovery", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("user_sessions", "is_recovery")
    op.execute("DELETE FROM usernames WHERE reserved_until IS NOT NULL")
    op.drop_column("usernames", "reserved_until")
    op.drop_table("known_networks")
    op.drop_table("login_nonces")
    op.drop_table("identities")
