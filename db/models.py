"""The tables, for Alembic: what `make migrate` builds is compared with this.

Statements are written in SQL beside the functions that send them; nothing loads these as objects.
"""

from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Interval,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# The contract's, those of later slices too: changing a CHECK locks the table.
REVOKED_REASONS = """(
    'SIGNED_OUT', 'REVOKED_BY_USER', 'REVOKED_BY_ADMIN', 'SESSION_LIMIT', 'CREDENTIAL_CHANGED',
    'USER_DISABLED', 'SUPERSEDED')"""


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can name what it drops."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own class attribute
        str: Text,
        datetime: DateTime(timezone=True),
        timedelta: Interval,
        UUID: Uuid,
        IPv4Address | IPv6Address: INET,
        bytes: LargeBinary,
    }


class User(Base):
    """A person, or a guest: a person of whom nothing is known yet."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('ADMIN')", name="role"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    is_guest: Mapped[bool]
    password_hash: Mapped[str | None]
    role: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]


class Username(Base):
    """The directory that makes names unique: users, sharded by id, could not.

    No foreign key to users, for the same reason: on a distributed PostgreSQL the two are apart.
    """

    __tablename__ = "usernames"

    username_key: Mapped[str] = mapped_column(primary_key=True)  # lower case
    user_id: Mapped[UUID]
    reserved_until: Mapped[datetime | None]  # a deleted account's name: nobody's until then


class UserSession(Base):
    """A session. Its row is the truth about every token that names it.

    The key begins with the owner: a token carries both, so a check is one probe of the primary
    key, a person's list is one range of it, and a distributed PostgreSQL can shard by user.
    Policy (deadline, idle timeout, resolution) is copied here at creation, so that a later change
    of the settings neither revives nor ends a session.
    """

    __tablename__ = "user_sessions"
    __table_args__ = (
        CheckConstraint("char_length(label) BETWEEN 1 AND 64", name="label"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint(f"revoked_reason IN {REVOKED_REASONS}", name="revoked_reason"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked"),
        Index(None, "id"),
        Index(
            None,
            "expires_at",
            postgresql_where=text("revoked_at IS NULL AND expired_at IS NULL"),
        ),
        Index(None, "expired_at", postgresql_where=text("expired_at IS NOT NULL")),
        Index(None, "revoked_at", postgresql_where=text("revoked_at IS NOT NULL")),
        # Room on each page, so that updates of last_active_at stay HOT; it is in no index either.
        {"postgresql_with": {"fillfactor": "90"}},
    )

    # NO ACTION: with CASCADE, a purge of a guest that races a new session deletes the live one.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    label: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    authenticated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    idle_timeout: Mapped[timedelta | None]  # in force; none: idling ends nothing
    idle_timeout_once_used: Mapped[timedelta | None]  # a guest's, from its first use on
    activity_resolution: Mapped[timedelta]
    last_active_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expired_at: Mapped[datetime | None]  # when a clock ended it, as the cleanup noted later
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]
    revoked_by: Mapped[UUID | None]  # the session that did it
    user_agent: Mapped[str | None]
    client_name: Mapped[str | None]
    client_os: Mapped[str | None]
    device_type: Mapped[str | None]
    ip_address: Mapped[IPv4Address | IPv6Address | None]
    # Made with an operator's code, by somebody who may have forgotten the password.
    is_recovery: Mapped[bool] = mapped_column(server_default=false())


class SessionEvent(Base):
    """What became of a session, by whom, written with it and never changed; purged by its age.

    It outlives its session and its user, so it refers to neither. Only its address is wiped later.
    """

    __tablename__ = "session_events"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('CREATED', 'RENAMED', 'REFRESHED', 'REVOKED', 'EXPIRED')", name="kind"
        ),
        CheckConstraint("actor IN ('USER', 'ADMIN', 'OPERATOR', 'SYSTEM')", name="actor"),
        Index(None, "at"),
        Index(
            "session_events_address_idx",
            "at",
            postgresql_where=text("ip_address IS NOT NULL"),
        ),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID]
    kind: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    actor_user_id: Mapped[UUID | None]
    actor_session_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    ip_address: Mapped[IPv4Address | IPv6Address | None]  # the actor's


class LinkCode(Base):
    """A code with which another device signs in, by its hash. A directory: it has its own key.

    A redeemed one stays for a while and names the session that it made, so that a retry under the
    same idempotency key finds it.
    """

    __tablename__ = "link_codes"
    __table_args__ = (
        CheckConstraint("(redeemed_at IS NULL) = (redeemed_session_id IS NULL)", name="redeemed"),
        Index(None, "user_id"),
        Index(None, "expires_at"),
    )

    code_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    # The session that made it, which must be live when it is redeemed; none: an operator did.
    session_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    redeemed_at: Mapped[datetime | None]
    redeemed_session_id: Mapped[UUID | None]


class IdempotencyKey(Base):
    """A createSession that was done, by the hash of its key. A directory: it has its own key."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]  # of what a retry must have in common with the first request
    user_id: Mapped[UUID]
    session_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RateCount(Base):
    """How often something was done in the window that began with its first time.

    Unlogged: a crash may forget it, and writing it down costs no flush.
    """

    __tablename__ = "rate_counts"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012 - SQLAlchemy's own class attribute

    key: Mapped[str] = mapped_column(primary_key=True)  # what is counted, and for whom
    ends_at: Mapped[datetime]
    made: Mapped[int]


class Identity(Base):
    """An identity at an OIDC provider, and whose it is. A directory: it has its own key."""

    __tablename__ = "identities"
    __table_args__ = (Index(None, "user_id"),)

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    user_id: Mapped[UUID]
    linked_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LoginNonce(Base):
    """A nonce for one ID token, by its hash. A spent one stays as a spent link code does."""

    __tablename__ = "login_nonces"
    __table_args__ = (
        CheckConstraint("(redeemed_at IS NULL) = (redeemed_session_id IS NULL)", name="redeemed"),
        Index(None, "expires_at"),
    )

    nonce_hash: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]
    redeemed_at: Mapped[datetime | None]
    redeemed_session_id: Mapped[UUID | None]


class KnownNetwork(Base):
    """A network from which somebody has signed in to an account."""

    __tablename__ = "known_networks"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(primary_key=True)  # an IPv4 address or an IPv6 /64
    last_success_at: Mapped[datetime] = mapped_column(server_default=func.now())
