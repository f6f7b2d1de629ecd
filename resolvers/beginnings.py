"""Beginning a session: as a guest, as whoever a credential stands for, or in place of another."""

from collections.abc import Hashable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import strawberry
import structlog
import uuid6
from sqlalchemy.ext.asyncio import AsyncConnection

from auth import codes, credentials, devices, names, tokens
from auth.credentials import Proof
from auth.devices import Device
from auth.viewer import Viewer
from context import Context, Info, hold, signed_in
from db import events, idempotency_keys, known_networks, link_codes, sessions, users
from db.events import Actor, By, Kind
from db.guests import NewGuest
from db.idempotency_keys import IdempotencyRow
from db.sessions import NewSession, RevokedReason, SessionRow
from db.users import UserRow
from resolvers import guests
from resolvers.endings import tell
from resolvers.guests import Arrival
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
CREDENTIALS = ("input", "credentials")

log = structlog.get_logger()


class Beginning(NamedTuple):
    """How a session is to begin, once its form is known to be right."""

    label: str | None = None  # none: two words
    key_hash: bytes | None = None  # of the idempotency key
    credentials: CredentialsInput | None = None  # none: as a guest


class SignedIn(NamedTuple):
    """A session that has just begun, and the token that opens it."""

    token: str
    session: SessionRow
    user: UserRow


class Declined(Exception):
    """No session can begin this way, and a person can mend that; what was done is rolled back."""

    def __init__(self, code: UserErrorCode, message: str, *path: str) -> None:
        super().__init__(code)
        self.error = UserError(code=code, message=message, path=list(path) or None)


class Taken(Exception):
    """Somebody was faster, with an identity or a renewed hash: who it is must be found out anew."""


async def create_session(
    info: Info,
    input: CreateSessionInput | None = strawberry.UNSET,  # noqa: A002 - the contract's name
) -> CreateSessionPayload:
    """A session and its token, or what is wrong with the input."""
    context = info.context
    try:
        signed_in = await begin(context, read(input if is_given(input) else None))
    except Declined as declined:
        return await decline(context, declined)
    context.has_begun = True
    return begun(signed_in)


async def decline(context: Context, declined: Declined) -> CreateSessionPayload:
    """What is wrong, to a caller whose session lives. Raises Unauthenticated."""
    if context.viewer:
        async with context.begin() as db:
            await hold(db, context.viewer)
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
            error = invalid_label("input", "label")
            raise Declined(error.code, error.message, "input", "label")
    if is_given(sent.idempotency_key):
        key_hash = codes.idempotency_key_hash(sent.idempotency_key)
        if key_hash is None:
            raise Declined(
                UserErrorCode.INVALID_IDEMPOTENCY_KEY,
                "A key has 22 to 128 characters: letters, digits and signs of ASCII, at random."
                " Make one for each request that you may have to repeat.",
                "input",
                "idempotencyKey",
            )
    return Beginning(label, key_hash, sent.credentials if is_given(sent.credentials) else None)


async def begin(context: Context, wanted: Beginning) -> SignedIn:
    """A new session, in one transaction; the one of the first request where this is its retry.

    The order matters. Who it is comes first, so that a key answers nobody who could not sign in.
    Then the key, so that a retry waits for the first request and not beside it. Then the users'
    rows, so that nothing else changes their sessions. Raises Declined, RateLimited,
    Unauthenticated, StoreUnavailable.
    """
    device = devices.recognise(context.origin.user_agent)
    if not (context.viewer or wanted.credentials or wanted.key_hash):
        guest = await begin_together(context, wanted, device)
        if guest:
            return guest
    for _ in range(2):
        proof = await prove(context, wanted.credentials) if wanted.credentials else None
        try:
            return await begin_as(context, wanted, proof, device)
        except Taken:
            continue
    raise invalid_credentials(*CREDENTIALS)


async def begin_together(context: Context, wanted: Beginning, device: Device) -> SignedIn | None:
    """A guest's session, in one transaction with others who come now; None: it must be alone."""
    guest = NewGuest(
        uuid6.uuid7(),
        names.username_candidates(),
        context.latest,
        new_session(
            context,
            device,
            id=uuid6.uuid7(),
            label=wanted.label or names.two_words(),
            is_guest=True,
        ),
    )
    begun = await context.services.guests.ask(
        Arrival(guest, context.origin.network), owner=guest.user_id, deadline=context.deadline
    )
    if begun is None:
        return None
    user, session = begun
    log.info("session_created", user=str(user.id), session=str(session.id))
    return SignedIn(mint(context, session), session, user)


async def begin_as(
    context: Context, wanted: Beginning, proof: Proof | None, device: Device
) -> SignedIn:
    """The session of whoever was proven; a guest's without a proof."""
    session_id = uuid6.uuid7()
    async with context.begin(turn_of(context, wanted, proof)) as db:
        user_id = (proof and proof.user_id) or uuid6.uuid7()
        this = IdempotencyRow(fingerprint(wanted, proof), user_id, session_id)
        done = await take_key(db, wanted, this)
        if proof and not proof.is_good_for(done.session_id if done else None):
            raise invalid_credentials(*CREDENTIALS)
        if done:
            return await repeat(db, context, done, this, proof)
        if proof:
            user, ended = await come_back(db, context, proof, user_id, session_id)
        else:
            user, ended = await new_guest(db, context, user_id), []
        taken = () if wanted.label or not proof else await sessions.live_labels(db, user.id)
        session = await sessions.create(
            db,
            user.id,
            new_session(
                context,
                device,
                id=session_id,
                label=wanted.label or names.label_beside(taken),
                is_guest=user.is_guest,
                is_recovery=bool(proof and proof.is_recovery),
            ),
            authenticated_at=proof.proven_at if proof else None,
        )
        await record(db, context, session, ended)
    log.info("session_created", user=str(user.id), session=str(session.id))
    tell(ended, by=session.id)
    return SignedIn(mint(context, session), session, user)


def turn_of(context: Context, wanted: Beginning, proof: Proof | None) -> Hashable:
    """What this would wait for in the database, and others like it: so they wait before it.

    Nobody's user id: callers take turns by that, after these.
    """
    if wanted.key_hash:
        return "key", wanted.key_hash
    if proof:
        return "user", proof.user_id or proof.code_hash
    limited = context.services.policy.guests_per_minute
    return ("network", context.origin.network) if limited else None


# Who it is


async def prove(context: Context, sent: CredentialsInput) -> Proof:
    """Who somebody proves to be, from outside; every try counts. Raises Declined, RateLimited."""
    services, network = context.services, context.origin.network
    proof = None
    if sent.password:
        typed = sent.password.value
        await services.throttle.guess(typed.username, network)
        proof = await credentials.password(
            services.database, services.passwords, typed.username, typed.password
        )
        if proof:
            await services.throttle.right(typed.username, network)
    elif sent.link_code:
        await services.throttle.network(network)
        proof = await credentials.link_code(services.database, sent.link_code.value.code)
    elif sent.id_token:
        await services.throttle.network(network)
        proof = await prove_by_token(context, sent.id_token.value.token)
    if proof is None:
        raise invalid_credentials(*CREDENTIALS)
    return proof


async def prove_by_token(context: Context, token: str) -> Proof | None:
    """The proof in an ID token, on the database's clock."""
    services = context.services
    now = await services.clock.now(services.database)
    return await credentials.id_token(services.database, services.providers, token, now=now)


def invalid_credentials(*path: str) -> Declined:
    """One answer for wrong, spent and late: it must not tell which."""
    return Declined(
        UserErrorCode.INVALID_CREDENTIALS,
        "Nobody can sign in with these: they are wrong, spent or too old.",
        *path,
    )


# A retry


def fingerprint(wanted: Beginning, proof: Proof | None) -> bytes:
    """What a retry has in common with the first request: the method, the user and the label."""
    if proof is None:
        return codes.digest("guest", None, wanted.label)
    whose = f"{proof.identity.issuer} {proof.identity.subject}" if proof.identity else proof.user_id
    return codes.digest(proof.method, f"{whose}", wanted.label)


async def take_key(
    db: AsyncConnection, wanted: Beginning, this: IdempotencyRow
) -> IdempotencyRow | None:
    """What was done under the request's key already; else the key is this request's now."""
    return await idempotency_keys.take(db, wanted.key_hash, this) if wanted.key_hash else None


async def repeat(
    db: AsyncConnection,
    context: Context,
    done: IdempotencyRow,
    this: IdempotencyRow,
    proof: Proof | None,
) -> SignedIn:
    """The session that the first request made, with a fresh token. Raises Declined."""
    caller = await hold(db, context.viewer, done.user_id) if context.viewer else None
    if done.request_hash != this.request_hash:
        raise Declined(
            UserErrorCode.IDEMPOTENCY_CONFLICT,
            "Another request was sent under this key. Each request needs its own.",
            "input",
            "idempotencyKey",
        )
    found = await sessions.find(db, done.user_id, done.session_id)
    if found is None or not found.session.is_live or found.user.disabled_at:
        raise Declined(
            UserErrorCode.IDEMPOTENCY_ENDED,
            "The session that was made under this key has ended. Make a new key.",
            "input",
            "idempotencyKey",
        )
    if caller and proof and caller.session_id != done.session_id:
        ended = await supersede(db, caller, done.session_id)
        await events.record(db, Kind.REVOKED, ended, context.by(caller))
        tell(ended, by=done.session_id)
    log.info("session_repeated", user=str(done.user_id), session=str(done.session_id))
    return SignedIn(mint(context, found.session), found.session, found.user)


# The transaction's parts


async def come_back(
    db: AsyncConnection, context: Context, proof: Proof, user_id: UUID, session_id: UUID
) -> tuple[UserRow, list[SessionRow]]:
    """The user of a proof, with room for one more session; the sessions that were ended for it.

    The caller's own session is left for the new one. Raises Declined, Taken.
    """
    caller = context.viewer
    if caller:
        await hold(db, caller, user_id)
    else:
        await users.lock(db, user_id)
    if proof.user_id is None:
        user = await new_account(db, proof, user_id, session_id)
    else:
        spent = await credentials.spend(db, proof, session_id)
        if spent is None:
            # A sign-in beside this one may have renewed the hash: the password is not wrong then.
            raise Taken if proof.renewed_hash else invalid_credentials(*CREDENTIALS)
        user = spent
    if not user.is_guest:
        await known_networks.remember(db, user.id, context.origin.network)
    ended = await supersede(db, caller, session_id) if caller else []
    return user, ended + await make_room(db, context, user.id, session_id)


async def supersede(db: AsyncConnection, caller: Viewer, session_id: UUID) -> list[SessionRow]:
    """Leaves the caller's session for the one that its device has now; what ended."""
    reason = RevokedReason.SUPERSEDED
    ended = await sessions.revoke(
        db, caller.user_id, caller.session_id, reason=reason, by=session_id
    )
    return [ended] if ended else []


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
            UserErrorCode.SESSION_LIMIT,
            f"There may be {policy.max_sessions} sessions. End one of them first.",
        )
    return []


async def new_guest(db: AsyncConnection, context: Context, user_id: UUID) -> UserRow:
    """A guest. Raises RateLimited."""
    if context.viewer:
        await hold(db, context.viewer)
    limit = context.services.policy.guests_per_minute
    await guests.count_alone(db, context.origin.network, limit=limit)
    return await new_user(db, user_id, is_guest=True)


async def new_account(
    db: AsyncConnection, proof: Proof, user_id: UUID, session_id: UUID
) -> UserRow:
    """The account of an identity that signs in for the first time. Raises Taken."""
    user = await new_user(db, user_id, is_guest=False)
    linked = await credentials.link(db, proof, user_id)
    if not linked or not await credentials.spend_nonce(db, proof, session_id):
        raise Taken
    return user


async def new_user(db: AsyncConnection, user_id: UUID, *, is_guest: bool) -> UserRow:
    """A user under a generated name that was free."""
    for _ in range(NAME_ROUNDS):
        username = await users.claim_name(db, user_id, names.username_candidates())
        if username:
            return await users.create(db, user_id, username, is_guest=is_guest)
    raise RuntimeError("no generated name was free")


def new_session(
    context: Context,
    device: Device,
    *,
    id: UUID,  # noqa: A002 - a session's
    label: str,
    is_guest: bool,
    is_recovery: bool = False,
) -> NewSession:
    """What a session begins with, by the policy of this moment and on the caller's device."""
    policy = context.services.policy
    idle_timeout, once_used = policy.idle_timeouts(is_guest=is_guest)
    return NewSession(
        id=id,
        label=label,
        absolute_lifetime=policy.absolute_lifetime,
        idle_timeout=idle_timeout,
        idle_timeout_once_used=once_used,
        activity_resolution=policy.activity_resolution,
        user_agent=device.user_agent,
        client_name=device.name,
        client_os=device.os,
        device_type=device.kind,
        ip_address=context.origin.address,
        is_recovery=is_recovery,
    )


async def record(
    db: AsyncConnection, context: Context, session: SessionRow, ended: list[SessionRow]
) -> None:
    """Writes down that a session began, and which ended for it."""
    by = By(Actor.USER, session.user_id, session.id, context.origin.address)
    await events.record(db, Kind.CREATED, [session], by)
    await events.record(db, Kind.REVOKED, ended, by)


async def begin_anew(
    db: AsyncConnection,
    context: Context,
    caller: Viewer,
    *,
    proven_at: datetime | None,
    end_others: bool,
) -> tuple[SignedIn, list[SessionRow]]:
    """A session in the place of the caller's, on the same device; and the sessions that ended.

    The caller's ends as SUPERSEDED; with end_others all others and every open code as
    CREDENTIAL_CHANGED. The user's row must be locked. proven_at None: now.
    """
    session_id, user = uuid6.uuid7(), await users.find(db, caller.user_id)
    if user is None:
        raise RuntimeError("the user is gone although its row is locked")
    ended = await supersede(db, caller, session_id)
    if end_others:
        ended += await sessions.revoke_others(
            db,
            user.id,
            keep=session_id,
            reason=RevokedReason.CREDENTIAL_CHANGED,
            by=session_id,
        )
        await link_codes.close(db, user.id)
    await known_networks.remember(db, user.id, context.origin.network)
    device = devices.recognise(context.origin.user_agent)
    new = new_session(
        context, device, id=session_id, label=caller.session.label, is_guest=user.is_guest
    )
    session = await sessions.create(db, user.id, new, authenticated_at=proven_at)
    await record(db, context, session, ended)
    return SignedIn(mint(context, session), session, user), ended


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
