"""Beginning a session: as a guest, or as whoever a credential stands for."""

from dataclasses import dataclass
from uuid import UUID

import strawberry
import structlog
import uuid6
from sqlalchemy.ext.asyncio import AsyncConnection

from auth import codes, credentials, devices, names, tokens
from auth.credentials import Proof
from auth.errors import RateLimited
from context import Context, Info, hold, signed_in
from db import events, guest_counts, idempotency_keys, link_codes, sessions, users
from db.events import Actor, By, Kind
from db.idempotency_keys import IdempotencyRow
from db.sessions import NewSession, RevokedReason, SessionRow
from db.users import UserRow
from resolvers.endings import tell
from resolvers.optional import is_given
from resolvers.sessions import invalid_label, to_session
from schema.types import (
    CreateSessionInput,
    CreateSessionPayload,
    CredentialsInput,
    UserError,
    UserErrorCode,
)

NAME_ROUNDS = 3  # after which not even two words and eight digits were free: something is wrong

log = structlog.get_logger()


@dataclass(frozen=True)
class Beginning:
    """How a session is to begin, once its form is known to be right."""

    label: str | None = None  # none: two words
    key_hash: bytes | None = None  # of the idempotency key
    link_code: str | None = None  # none: as a guest


@dataclass(frozen=True)
class SignedIn:
    """A session that has just begun, and the token that opens it."""

    token: str
    session: SessionRow
    user: UserRow


class Declined(Exception):
    """No session can begin this way, and a person can mend that; what was done is rolled back."""

    def __init__(self, error: UserError) -> None:
        super().__init__(error.code)
        self.error = error


async def create_session(
    info: Info,
    input: CreateSessionInput | None = strawberry.UNSET,  # noqa: A002 - the contract's name
) -> CreateSessionPayload:
    """A session and its token, or what is wrong with the input."""
    try:
        return begun(await begin(info.context, read(input if is_given(input) else None)))
    except Declined as declined:
        return CreateSessionPayload(
            token=None,
            token_type="Bearer",  # noqa: S106 - RFC 6750's word
            expires_at=None,
            session=None,
            user_errors=[declined.error],
        )


async def refresh_session(info: Info) -> CreateSessionPayload:
    """The current session's token, minted again under the current key."""
    viewer = signed_in(info)
    async with info.context.begin() as db:
        now = await hold(db, viewer)
        await events.record(db, Kind.REFRESHED, [now.session], info.context.by(viewer))
    log.info("session_refreshed", user=str(viewer.user_id), session=str(viewer.session_id))
    return begun(SignedIn(mint(info.context, now.session), now.session, now.user))


def read(sent: CreateSessionInput | None) -> Beginning:
    """What the input asks for. Raises Declined."""
    if sent is None:
        return Beginning()
    label = key_hash = None
    if is_given(sent.label):
        label = names.clean_label(sent.label)
        if label is None:
            raise Declined(invalid_label("input", "label"))
    if is_given(sent.idempotency_key):
        key_hash = codes.idempotency_key_hash(sent.idempotency_key)
        if key_hash is None:
            raise Declined(
                UserError(
                    code=UserErrorCode.INVALID_IDEMPOTENCY_KEY,
                    message=(
                        "A key has 22 to 128 characters: letters, digits and signs of ASCII,"
                        " at random. Make one for each request that you may have to repeat."
                    ),
                    path=["input", "idempotencyKey"],
                )
            )
    proof = sent.credentials if is_given(sent.credentials) else None
    return Beginning(label, key_hash, link_code_of(proof))


def link_code_of(sent: CredentialsInput | None) -> str | None:
    """The code in the credentials, which is the only member that there is."""
    return sent.link_code.value.code if sent and sent.link_code else None


async def begin(context: Context, wanted: Beginning) -> SignedIn:
    """A new session, in one transaction; the one of the first request where this is its retry.

    The order matters. Who it is comes first, so that a key answers nobody who could not sign in.
    Then the key, so that a retry waits for the first request and not beside it. Then the users'
    rows, so that nothing else changes their sessions. Raises Declined, RateLimited,
    Unauthenticated.
    """
    session_id = uuid6.uuid7()
    async with context.begin() as db:
        proof = await prove(db, wanted)
        user_id = proof.user_id if proof else uuid6.uuid7()
        this = IdempotencyRow(fingerprint(wanted, proof), user_id, session_id)
        done = await take_key(db, wanted, this)
        if proof and not proof.is_good_for(done.session_id if done else None):
            raise invalid_credentials()
        if done:
            return await repeat(db, context, done, this)
        if proof:
            user, ended = await come_back(db, context, proof, session_id)
        else:
            user, ended = await new_guest(db, context, user_id), []
        taken = await sessions.live_labels(db, user.id) if proof else ()
        label = wanted.label or names.label_beside(taken)
        session = await sessions.create(
            db,
            user.id,
            new_session(context, user, session_id, label),
            authenticated_at=proof.authenticated_at if proof else None,
        )
        by = By(Actor.USER, user.id, session.id, context.origin.address)
        await events.record(db, Kind.CREATED, [session], by)
        await events.record(db, Kind.REVOKED, ended, by)
    log.info("session_created", user=str(user.id), session=str(session.id))
    tell(ended, by=session.id)
    return SignedIn(mint(context, session), session, user)


async def prove(db: AsyncConnection, wanted: Beginning) -> Proof | None:
    """Who somebody proved to be; None for a guest. Raises Declined."""
    if wanted.link_code is None:
        return None
    proof = await credentials.link_code(db, wanted.link_code)
    if proof is None:
        raise invalid_credentials()
    return proof


def invalid_credentials() -> Declined:
    """One answer for wrong, spent and late: it must not tell which."""
    return Declined(
        UserError(
            code=UserErrorCode.INVALID_CREDENTIALS,
            message="Nobody can sign in with this. Ask for a new code.",
            path=["input", "credentials"],
        )
    )


def fingerprint(wanted: Beginning, proof: Proof | None) -> bytes:
    """What a retry has in common with the first request: the method, the user and the label."""
    method, user = ("linkCode", str(proof.user_id)) if proof else ("guest", None)
    return codes.digest(method, user, wanted.label)


async def take_key(
    db: AsyncConnection, wanted: Beginning, this: IdempotencyRow
) -> IdempotencyRow | None:
    """What was done under the request's key already; else the key is this request's now."""
    return await idempotency_keys.take(db, wanted.key_hash, this) if wanted.key_hash else None


async def repeat(
    db: AsyncConnection, context: Context, done: IdempotencyRow, this: IdempotencyRow
) -> SignedIn:
    """The session that the first request made, with a fresh token. Raises Declined."""
    if done.request_hash != this.request_hash:
        raise Declined(
            UserError(
                code=UserErrorCode.IDEMPOTENCY_CONFLICT,
                message="Another request was sent under this key. Each request needs its own.",
                path=["input", "idempotencyKey"],
            )
        )
    if context.viewer:
        await hold(db, context.viewer)
    found = await sessions.find(db, done.user_id, done.session_id)
    if found is None or not found.session.is_live or found.user.disabled_at:
        raise Declined(
            UserError(
                code=UserErrorCode.IDEMPOTENCY_ENDED,
                message="The session that was made under this key has ended. Make a new key.",
                path=["input", "idempotencyKey"],
            )
        )
    return SignedIn(mint(context, found.session), found.session, found.user)


async def come_back(
    db: AsyncConnection, context: Context, proof: Proof, session_id: UUID
) -> tuple[UserRow, list[SessionRow]]:
    """A known user, with room for one more session; and the sessions that were ended for it.

    The caller's own session is left for the new one. Raises Declined.
    """
    caller, ended = context.viewer, []
    if caller:
        await hold(db, caller, proof.user_id)
    else:
        await users.lock(db, proof.user_id)
    user = await users.find(db, proof.user_id)
    if user is None or user.disabled_at:
        raise invalid_credentials()
    if not await link_codes.redeem(db, proof.link_code, session_id):
        raise invalid_credentials()
    if caller:
        superseded = await sessions.revoke(
            db,
            caller.user_id,
            caller.session_id,
            reason=RevokedReason.SUPERSEDED,
            by=session_id,
        )
        ended += [superseded] if superseded else []
    return user, ended + await make_room(db, context, user.id, session_id)


async def make_room(
    db: AsyncConnection, context: Context, user_id: UUID, session_id: UUID
) -> list[SessionRow]:
    """Keeps the user below the cap; the sessions that ended for it. Raises Declined."""
    policy = context.services.policy
    if not policy.reject_on_limit:
        return await sessions.revoke_oldest(
            db, user_id, keep=policy.max_sessions - 1, by=session_id
        )
    if len(await sessions.live_labels(db, user_id)) >= policy.max_sessions:
        raise Declined(
            UserError(
                code=UserErrorCode.SESSION_LIMIT,
                message=f"There may be {policy.max_sessions} sessions. End one of them first.",
                path=None,
            )
        )
    return []


async def new_guest(db: AsyncConnection, context: Context, user_id: UUID) -> UserRow:
    """A guest under a name that was free. Raises RateLimited."""
    if context.viewer:
        await hold(db, context.viewer)
    limit = context.services.policy.guests_per_minute
    if limit:
        wait = await guest_counts.count_one_more(db, context.origin.network, limit=limit)
        if wait is not None:
            raise RateLimited(wait)
    for _ in range(NAME_ROUNDS):
        username = await users.claim_name(db, user_id, names.username_candidates())
        if username:
            return await users.create_guest(db, user_id, username)
    raise RuntimeError("no generated name was free")


def new_session(context: Context, user: UserRow, session_id: UUID, label: str) -> NewSession:
    """What a session begins with, by the policy of this moment and on the caller's device."""
    policy, origin = context.services.policy, context.origin
    idle_timeout, once_used = policy.idle_timeouts(is_guest=user.is_guest)
    device = devices.recognise(origin.user_agent)
    return NewSession(
        id=session_id,
        label=label,
        absolute_lifetime=policy.absolute_lifetime,
        idle_timeout=idle_timeout,
        idle_timeout_once_used=once_used,
        activity_resolution=policy.activity_resolution,
        user_agent=device.user_agent,
        client_name=device.name,
        client_os=device.os,
        device_type=device.kind,
        ip_address=origin.address,
    )


def begun(signed_in: SignedIn) -> CreateSessionPayload:
    """The answer with a session and its token."""
    return CreateSessionPayload(
        token=signed_in.token,
        token_type="Bearer",  # noqa: S106 - RFC 6750's word
        expires_at=signed_in.session.expires_at,
        session=to_session(signed_in.session, signed_in.user, is_current=True),
        user_errors=[],
    )


def mint(context: Context, session: SessionRow) -> str:
    """The session's token."""
    return tokens.mint(
        context.services.keys,
        context.services.profile,
        user_id=session.user_id,
        session_id=session.id,
        created_at=session.created_at,
        expires_at=session.expires_at,
    )
