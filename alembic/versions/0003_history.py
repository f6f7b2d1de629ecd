"""The history of sessions; when a clock ended one; link codes that an operator made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "session_events",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_user_id", sa.Uuid(), nullable=True),
        sa.Column("actor_session_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('CREATED', 'RENAMED', 'REFRESHED', 'REVOKED', 'EXPIRED')",
            name=op.f("session_events_kind_check"),
        ),
        sa.CheckConstraint(
            "actor IN ('USER', 'ADMIN', 'OPERATOR', 'SYSTEM')",
            name=op.f("session_events_actor_check"),
        ),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("session_events_pkey")),
    )
    op.create_index(op.f("session_events_at_idx"), "session_events", ["at"])
    op.create_index(
        op.f("session_events_address_idx"),
        "session_events",
        ["at"],
        postgresql_where=sa.text("ip_address IS NOT NULL"),
    )
    op.add_column("user_sessions", sa.Column("expired_at", MOMENT, nullable=True))
    op.drop_index(op.f("user_sessions_expires_at_idx"), "user_sessions")
    op.create_index(
        op.f("user_sessions_expires_at_idx"),
        "user_sessions",
        ["expires_at"],
        postgresql_where=sa.text("revoked_at IS NULL AND expired_at IS NULL"),
    )
    op.create_index(
        op.f("user_sessions_expired_at_idx"),
        "user_sessions",
        ["expired_at"],
        postgresql_where=sa.text("expired_at IS NOT NULL"),
    )
    op.alter_column("link_codes", "session_id", nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM link_codes WHERE session_id IS NULL")
    op.alter_column("link_codes", "session_id", nullable=False)
    op.drop_index(op.f("user_sessions_expired_at_idx"), "user_sessions")
    op.drop_index(op.f("user_sessions_expires_at_idx"), "user_sessions")
    op.create_index(op.f("user_sessions_expires_at_idx"), "user_sessions", ["expires_at"])
    op.drop_column("user_sessions", "expired_at")
    op.drop_table("session_events")
