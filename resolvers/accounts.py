"""Accounts: how a guest becomes one, how it proves who it is, how it changes and ends.

Whatever adds, changes or removes a way to sign in gives the caller a new session and ends the
others: nothing that was planted before rides on.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import strawberry
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from auth import codes, credentials, names, passwords
from auth.credentials import Proof
from auth.viewer import Viewer
from context import Context, Info, age_of_proof, fresh, hold, signed_in
from db import identities, users
from db.sessions import SessionRow
from resolvers.beginnings import (
    Declined,
    SignedIn,
    begin_anew,
    begun,
    decline,
    invalid_credentials,
    prove_by_token,
)
from resolvers.endings import tell
from resolvers.optional import is_given
from resolvers.sessions import parse_id
from schema.types import (
    CreateLoginNoncePayload,
    CreateSessionPayload,
    CredentialsInput,
    DeleteAccountPayload,
    IdTokenInput,
    UserError,
    UserErrorCode,
)

NONCE_LIFETIME = timedelta(minutes=10)  # to sign in at the provider
RECOVERY = timedelta(minutes=10)  # in which a password may be set without the current one
RESERVED_FOR = timedelta(days=90)  # a deleted account's name: nobody must be taken for its owner

log = structlog.get_logger()


async def claim_account(
    info: Info, username: str, password: str, *, revoke_others: bool = True
) -> CreateSessionPayload:
    """The guest becomes an account: the same user, with a name and a password."""
    context, viewer = info.context, signed_in(info)
    try:
        refuse_username(username)
        refuse_password(context, password, username, "password")
        await context.services.throttle.network(context.origin.network)
        password_hash = await context.services.passwords.hash(password)
        async with changing(context, viewer) as change:
            if not change.caller.user.is_guest:
                raise Declined(UserErrorCode.ALREADY_CLAIMED, "This is an account already.")
            if not await users.rename(change.db, viewer.user_id, username):
                raise Declined(UserErrorCode.USERNAME_TAKEN, "Somebody has this name.", "username")
            await users.set_password(change.db, viewer.user_id, password_hash)
            await users.become_account(change.db, viewer.user_id)
            await change.finish(end_others=revoke_others)
    except Declined as declined:
        return await decline(context, declined)
    return change.answer("account_claimed")


async def change_password(
    info: Info, *, current_password: str | None = strawberry.UNSET, new_password: str
) -> CreateSessionPayload:
    """Another password, for who knows the current one, has none, or was let in by an operator."""
    context, viewer = info.context, signed_in(info)
    try:
        refuse_password(context, new_password, viewer.user.username, "newPassword")
        await fresh(context, viewer)
        refuse_guest(viewer)
        await context.services.throttle.proof(viewer.session_id)
        typed = current_password if is_given(current_password) else None
        known = await confirm_current(context, viewer, typed)
        password_hash = await context.services.passwords.hash(new_password)
        async with changing(context, viewer) as change:
            await fresh(context, change.caller)
            if await users.password_of(change.db, viewer.user_id) != known:
                raise wrong_password()
            await users.set_password(change.db, viewer.user_id, password_hash)
            proven_at = None if typed else change.caller.session.authenticated_at
            await change.finish(end_others=True, proven_at=proven_at)
    except Declined as declined:
        return await decline(context, declined)
    return change.answer("password_changed")


async def confirm_current(context: Context, viewer: Viewer, typed: str | None) -> str | None:
    """The hash of the current password, once it was typed or need not be. Raises Declined."""
    services = context.services
    known = await context.read(lambda db: users.password_of(db, viewer.user_id))
    if typed is not None:
        if not await services.passwords.verify(typed, known):
            raise wrong_password()
        return known
    may_be_absent = known is None or viewer.session.is_recovery
    longest = services.policy.fresh_for or RECOVERY
    if not may_be_absent or await age_of_proof(context, viewer) > longest:
        raise wrong_password()
    return known


def refuse_guest(viewer: Viewer) -> None:
    """Raises Declined for a caller who has no password to change; nothing is hashed for them."""
    if viewer.user.is_guest:
        raise Declined(
            UserErrorCode.INVALID_CREDENTIALS, "A guest has no password: claim an account."
        )


def wrong_password() -> Declined:
    """What somebody is told who does not know the current password."""
    return Declined(
        UserErrorCode.INVALID_CREDENTIALS, "This is not the current password.", "currentPassword"
    )


async def reauthenticate(
    info: Info,
    sent: Annotated[CredentialsInput, strawberry.argument(name="credentials")],
) -> CreateSessionPayload:
    """A fresh proof of the caller's own user: a new session with a new time of the proof."""
    context, viewer = info.context, signed_in(info)
    try:
        proof = await prove_again(context, viewer, sent)
        async with changing(context, viewer) as change:
            spent = await credentials.spend(change.db, proof, change.caller.session_id)
            if spent is None:
                raise invalid_credentials("credentials")
            await change.finish(end_others=False, proven_at=proof.proven_at)
    except Declined as declined:
        return await decline(context, declined)
    return change.answer("reauthenticated")


async def prove_again(context: Context, viewer: Viewer, sent: CredentialsInput) -> Proof:
    """The caller's own proof. Whatever else is sent counts as a guess. Raises Declined."""
    services = context.services
    await services.throttle.proof(viewer.session_id)
    proof = None
    if sent.password:
        typed = sent.password.value
        if is_password_of(viewer, typed.username):
            proof = await credentials.password(
                services.database, services.passwords, typed.username, typed.password
            )
    elif sent.id_token:
        proof = await prove_by_token(context, sent.id_token.value.token)
        if proof and proof.identity and proof.identity.auth_time is None:
            proof = None  # nobody knows when they proved it
    if proof is None or proof.user_id != viewer.user_id or not proof.is_good_for(None):
        raise invalid_credentials("credentials")
    return proof


def is_password_of(viewer: Viewer, username: str) -> bool:
    """Whether a password under this name can be the caller's own.

    No other is verified here: anybody can have any number of guests' sessions, each with its own
    counter, and neither the accounts guessed at nor their networks would count it.
    """
    return not viewer.user.is_guest and username.lower() == viewer.user.username.lower()


async def link_identity(
    info: Info, id_token: IdTokenInput, *, revoke_others: bool = True
) -> CreateSessionPayload:
    """One more way to sign in; a guest becomes an account."""
    context, viewer = info.context, signed_in(info)
    try:
        await fresh(context, viewer)
        await context.services.throttle.proof(viewer.session_id)
        proof = await prove_by_token(context, id_token.token)
        if proof is None or not proof.is_good_for(None):
            raise invalid_credentials("idToken")
        async with changing(context, viewer) as change:
            await fresh(context, change.caller)
            if not await credentials.link(change.db, proof, viewer.user_id):
                raise Declined(
                    UserErrorCode.IDENTITY_TAKEN, "This identity signs in already.", "idToken"
                )
            if not await credentials.spend_nonce(change.db, proof, change.caller.session_id):
                raise invalid_credentials("idToken")
            await users.become_account(change.db, viewer.user_id)
            await change.finish(end_others=revoke_others, proven_at=proof.proven_at)
    except Declined as declined:
        return await decline(context, declined)
    return change.answer("identity_linked")


async def unlink_identity(
    info: Info,
    id: strawberry.ID,  # noqa: A002 - the contract's name
) -> CreateSessionPayload:
    """One way to sign in less; never the last one."""
    context, viewer = info.context, signed_in(info)
    target = parse_id(id)
    try:
        await fresh(context, viewer)
        async with changing(context, viewer) as change:
            await fresh(context, change.caller)
            if not (target and await identities.unlink(change.db, viewer.user_id, target)):
                raise Declined(UserErrorCode.NOT_FOUND, "You have no identity of this id.", "id")
            if not await has_way_in(change):
                raise Declined(
                    UserErrorCode.LAST_CREDENTIAL,
                    "This is the last way to sign in. Set a password or link another one first.",
                    "id",
                )
            await change.finish(end_others=True, proven_at=change.caller.session.authenticated_at)
    except Declined as declined:
        return await decline(context, declined)
    return change.answer("identity_unlinked")


async def create_login_nonce(info: Info) -> CreateLoginNoncePayload:
    """A nonce for one ID token, which the provider puts into it."""
    context = info.context
    await context.services.throttle.network(context.origin.network)
    nonce = codes.new_nonce()
    async with context.begin() as db:
        if context.viewer:
            await hold(db, context.viewer)
        expires_at = await identities.add_nonce(
            db, codes.digest("nonce", nonce), lifetime=NONCE_LIFETIME
        )
    return CreateLoginNoncePayload(nonce=nonce, expires_at=expires_at)


async def delete_account(info: Info, confirm_username: str) -> DeleteAccountPayload:
    """Deletes the user and everything of theirs, for ever."""
    context, viewer = info.context, signed_in(info)
    await fresh(context, viewer)
    async with context.begin() as db:
        caller = await hold(db, viewer)
        await fresh(context, caller)
        if confirm_username.lower() != caller.user.username.lower():
            error = UserError(
                code=UserErrorCode.CONFIRMATION_MISMATCH,
                message="Type your own user name to confirm.",
                path=["confirmUsername"],
            )
            return DeleteAccountPayload(deleted=False, user_errors=[error])
        await users.erase(db, caller.user, reserve=None if caller.user.is_guest else RESERVED_FOR)
    log.info("account_deleted", user=str(viewer.user_id))
    return DeleteAccountPayload(deleted=True, user_errors=[])


# What they share


@dataclass
class Change:
    """A change of the caller's account under way, in one transaction."""

    db: AsyncConnection
    context: Context
    caller: Viewer  # as it is under the lock
    signed_in: SignedIn | None = None
    ended: list[SessionRow] | None = None

    async def finish(self, *, end_others: bool, proven_at: datetime | None = None) -> None:
        """Gives the caller a session in the place of the old one."""
        self.signed_in, self.ended = await begin_anew(
            self.db, self.context, self.caller, proven_at=proven_at, end_others=end_others
        )

    def answer(self, event: str) -> CreateSessionPayload:
        """The new session and its token, once that was committed."""
        if self.signed_in is None:
            raise RuntimeError("the change was not finished")
        session = self.signed_in.session
        log.info(event, user=str(session.user_id), session=str(session.id))
        tell(self.ended or [], by=session.id)
        return begun(self.signed_in)


@asynccontextmanager
async def changing(context: Context, viewer: Viewer) -> AsyncIterator[Change]:
    """A change of the caller's account, under the lock of its row. Raises Unauthenticated."""
    async with context.begin() as db:
        yield Change(db, context, await hold(db, viewer))


async def has_way_in(change: Change) -> bool:
    """Whether the caller can sign in with what they have now."""
    user_id, providers = change.caller.user_id, change.context.services.providers
    linked = await identities.of_user(change.db, user_id)
    return any(providers.trusts(identity.issuer) for identity in linked) or bool(
        await users.password_of(change.db, user_id)
    )


def refuse_username(username: str) -> None:
    """Raises Declined for what is no user name."""
    if not names.is_username(username):
        raise Declined(
            UserErrorCode.INVALID_USERNAME,
            "A user name has 3 to 64 letters, digits, dots, hyphens or underscores. Some are"
            " reserved, and so are names of the form that guests have.",
            "username",
        )


def refuse_password(context: Context, password: str, username: str, path: str) -> None:
    """Raises Declined for what is no password, or one that is guessed soon."""
    least = context.services.passwords.min_length
    why = passwords.refuse(password, username=username, min_length=least)
    if why:
        raise Declined(UserErrorCode.INVALID_PASSWORD, why, path)
