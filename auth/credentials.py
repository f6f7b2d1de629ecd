"""How somebody proves who they are: one function for each login method.

A method only verifies, with no connection held while it does. Whoever makes a session of it then
spends the proof, in the transaction that makes the session, under the lock of the user's row: what
was verified must still hold there.

| method    | trusts                                    | spends                     |
|-----------|-------------------------------------------|----------------------------|
| link code | a session of the user that lives          | the code                   |
| password  | argon2id's hash on the user's row         | nothing: it must be there  |
| ID token  | the provider's signature, our own nonce   | the nonce                  |
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import uuid6
from sqlalchemy.ext.asyncio import AsyncConnection

from auth import codes
from auth.errors import StoreUnavailable
from auth.oidc import IdToken, InvalidIdTokenError, Providers, ProviderUnavailableError
from auth.passwords import Passwords
from db import identities, link_codes, users
from db.engine import Database
from db.users import UserRow


@dataclass(frozen=True, slots=True)
class Proof:
    """Whom a credential stands for, and what has to be spent for it."""

    method: str  # the member of CredentialsInput
    user_id: UUID | None  # none: an identity that nobody has yet
    proven_at: datetime | None = None  # when they proved it; none: now
    spent_for: UUID | None = None  # the session that was made with it already
    is_recovery: bool = False  # an operator vouches for them
    code_hash: bytes = b""  # of a link code or a nonce
    password_hash: str | None = None  # that was verified
    renewed_hash: str | None = None  # that replaces it
    identity: IdToken | None = None

    def is_good_for(self, session_id: UUID | None) -> bool:
        """Whether it still counts: for a new session (None), or for one that it made."""
        return self.spent_for is None or self.spent_for == session_id


async def link_code(database: Database, code: str) -> Proof | None:
    """The proof in a link code; None for a wrong or a late one, and for what is no code."""
    code_hash = codes.link_code_hash(code)
    if code_hash is None:
        return None
    found = await database.read(lambda db: link_codes.find(db, code_hash))
    if found is None:
        return None
    return Proof(
        "linkCode",
        found.user_id,
        proven_at=found.authenticated_at,
        spent_for=found.redeemed_session_id,
        is_recovery=found.by_operator,
        code_hash=code_hash,
    )


async def password(
    database: Database, passwords: Passwords, username: str, typed: str
) -> Proof | None:
    """The proof in a password; None for a wrong one, after as long for an unknown user.

    For a disabled one, too, already here: nothing that follows a right password may tell it.

    Raises RateLimited when too many hash.
    """
    found = await database.read(lambda db: users.find_password(db, username))
    known = found.password_hash if found else None
    is_right = await passwords.verify(typed, known)
    if not is_right or found is None or known is None or found.is_disabled:
        return None
    return Proof(
        "password",
        found.user_id,
        password_hash=known,
        renewed_hash=await passwords.renewed(typed, known),
    )


async def id_token(
    database: Database, providers: Providers, token: str, *, now: float
) -> Proof | None:
    """The proof in an ID token; None for a bad one and for a nonce that is not ours or late.

    Raises StoreUnavailable when the provider's keys cannot be had.
    """
    try:
        verified = await providers.verify(token, now=now)
    except InvalidIdTokenError:
        return None
    except ProviderUnavailableError as error:
        raise StoreUnavailable from error
    nonce_hash = codes.digest("nonce", verified.nonce)
    nonce = await database.read(lambda db: identities.find_nonce(db, nonce_hash))
    if nonce is None:
        return None
    owner = await database.read(lambda db: identities.owner(db, verified.issuer, verified.subject))
    told = verified.issued_at if verified.auth_time is None else verified.auth_time
    return Proof(
        "idToken",
        owner,
        # Not after now, although the provider's clock may be ahead by less than a minute.
        proven_at=datetime.fromtimestamp(min(told, now), UTC),
        spent_for=nonce.redeemed_session_id,
        code_hash=nonce_hash,
        identity=verified,
    )


async def spend(db: AsyncConnection, proof: Proof, session_id: UUID) -> UserRow | None:
    """The user, once what was verified still holds and is spent; None when it does not.

    The user's row must be locked, by a statement before this one.
    """
    user = await users.find(db, proof.user_id) if proof.user_id else None
    if user is None or user.disabled_at:
        return None
    return user if await is_spent(db, proof, user.id, session_id) else None


async def is_spent(db: AsyncConnection, proof: Proof, user_id: UUID, session_id: UUID) -> bool:
    """Whether a proof of a user could be spent for a session that is about to be made."""
    if proof.identity:
        owner = await identities.owner(db, proof.identity.issuer, proof.identity.subject)
        return owner == user_id and await identities.spend_nonce(db, proof.code_hash, session_id)
    if proof.password_hash:
        if await users.password_of(db, user_id) != proof.password_hash:
            return False
        if proof.renewed_hash:
            await users.set_password(db, user_id, proof.renewed_hash)
        return True
    return await link_codes.redeem(db, proof.code_hash, session_id)


async def link(db: AsyncConnection, proof: Proof, user_id: UUID) -> bool:
    """Makes the identity of a proof the user's; False when somebody else has it by now.

    The nonce is still to be spent.
    """
    token = proof.identity
    if token is None:
        return False
    return await identities.link(db, user_id, uuid6.uuid7(), token.issuer, token.subject)


async def spend_nonce(db: AsyncConnection, proof: Proof, session_id: UUID) -> bool:
    """Spends the nonce of a proof for a session that is about to be made; whether it was open."""
    return await identities.spend_nonce(db, proof.code_hash, session_id)
