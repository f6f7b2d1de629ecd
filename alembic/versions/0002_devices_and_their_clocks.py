"""Link codes, idempotency keys, counters; a guest's idle timeout until its first use."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "user_sessions", sa.Column("idle_timeout_once_used", sa.Interval(), nullable=True)
    )
    op.create_table(
        "link_codes",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("redeemed_at", MOMENT, nullable=True),
        sa.Column("redeemed_session_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(redeemed_at IS NULL) = (redeemed_session_id IS NULL)",
            name=op.f("link_codes_redeemed_check"),
        ),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("link_codes_pkey")),
    )
    op.create_index(op.f("link_codes_user_id_idx"), "link_codes", ["user_id"])
    op.create_index(op.f("link_codes_expires_at_idx"), "link_codes", ["expires_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("idempotency_keys_pkey")),
    )
    op.create_index(op.f("idempotency_keys_created_at_idx"), "idempotency_keys", ["created_at"])
    op.create_table(
        "rate_counts",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("made", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("rate_counts_pkey")),
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    op.drop_table("rate_counts")
    op.drop_table("idempotency_keys")
    op.drop_table("link_codes")
    # What reads it no more must not end these guests after their first day.
    op.execute(
        "UPDATE user_sessions SET idle_timeout = idle_timeout_once_used"
        " WHERE idle_timeout_once_used IS NOT NULL"
    )
    op.drop_column("user_sessions", "idle_timeout_once_used")
