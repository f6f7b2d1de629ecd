"""The tables, as objects."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Interval, Text, func
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """What the tables have in common."""

    type_annotation_map = {str: Text, datetime: DateTime(timezone=True), timedelta: Interval}


class Username(Base):
    """A name, and whose it is."""

    __tablename__ = "usernames"

    username_key: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]


class User(Base):
    """A person, or a guest."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    is_guest: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]


class UserSession(Base):
    """A session of a user."""

    __tablename__ = "user_sessions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    label: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    idle_timeout: Mapped[timedelta | None]
    idle_timeout_once_used: Mapped[timedelta | None]
    activity_resolution: Mapped[timedelta]
    last_active_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]
    revoked_by: Mapped[UUID | None]
    user_agent: Mapped[str | None]
    ip_address: Mapped[str | None] = mapped_column(INET)
    user: Mapped[User] = relationship()

    def is_live(self, now: datetime) -> bool:
        """Whether its token is good at that moment."""
        idle = self.idle_timeout and self.last_active_at + self.idle_timeout
        return (
            self.revoked_at is None
            and self.expires_at > now
            and (idle is None or idle + self.activity_resolution > now)
        )


class SessionEvent(Base):
    """What became of a session."""

    __tablename__ = "session_events"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID]
    kind: Mapped[str]
    actor: Mapped[str]
    actor_user_id: Mapped[UUID | None]
    actor_session_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    ip_address: Mapped[str | None] = mapped_column(INET)
