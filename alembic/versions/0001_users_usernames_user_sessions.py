"""Users, the directory of their names, and their sessions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("is_guest", sa.Boolean(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.CheckConstraint("role IN ('ADMIN')", name=op.f("users_role_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
    )
    op.create_table(
        "usernames",
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("username_key", name=op.f("usernames_pkey")),
    )
    op.create_table(
        "user_sessions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("authenticated_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("idle_timeout", sa.Interval(), nullable=True),
        sa.Column("activity_resolution", sa.Interval(), nullable=False),
        sa.Column("last_active_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.Column("revoked_by", sa.Uuid(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("client_name", sa.Text(), nullable=True),
        sa.Column("client_os", sa.Text(), nullable=True),
        sa.Column("device_type", sa.Text(), nullable=True),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.CheckConstraint(
            "char_length(label) BETWEEN 1 AND 64", name=op.f("user_sessions_label_check")
        ),
        sa.CheckConstraint("expires_at > created_at", name=op.f("user_sessions_expires_at_check")),
        sa.CheckConstraint(
            """revoked_reason IN (
    'SIGNED_OUT', 'REVOKED_BY_USER', 'REVOKED_BY_ADMIN', 'SESSION_LIMIT', 'CREDENTIAL_CHANGED',
    'USER_DISABLED', 'SUPERSEDED')""",
            name=op.f("user_sessions_revoked_reason_check"),
        ),
        sa.CheckConstraint(
            "(revoked_at IS NULL) = (revoked_reason IS NULL)",
            name=op.f("user_sessions_revoked_check"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("user_sessions_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("user_sessions_pkey")),
        postgresql_with={"fillfactor": "90"},
    )
    op.create_index(op.f("user_sessions_id_idx"), "user_sessions", ["id"])
    op.create_index(op.f("user_sessions_expires_at_idx"), "user_sessions", ["expires_at"])
    op.create_index(
        op.f("user_sessions_revoked_at_idx"),
        "user_sessions",
        ["revoked_at"],
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("user_sessions")
    op.drop_table("usernames")
    op.drop_table("users")
