"""Access tokens: minted and verified. Pure, and the only import of jwt.

A token is a JWT of the profile RFC 9068: it names a user (`sub`) and a session (`sid`), carries
no name and no role, and proves nothing by itself: the session's row decides.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn
from uuid import UUID, uuid4

import orjson
from asyncpg.pgproto import pgproto
from jwt.algorithms import HMACAlgorithm

from auth import strict_json
from auth.errors import Reason, Unauthenticated
from auth.keys import ALGORITHM, Key, KeyRing

TYPE = "at+jwt"
MAX_BYTES = 4096  # ours have 500; whatever is longer is not worth decoding
LEEWAY = 60  # seconds for iat and nbf, which other nodes' clocks made; none for exp
SEGMENTS = 3
CHANGES_THE_RULES = {"crit", "b64"}  # what is signed, or how (RFC 7515 4.1.11, RFC 7797 3)
SCHEME = "Bearer "
ALGORITHMS = {ALGORITHM: HMACAlgorithm(HMACAlgorithm.SHA256)}
CAPACITY = 20_000  # tokens whose claims are kept, about 1 kB each


@dataclass(frozen=True)
class Profile:
    """Who issues the tokens, for whom and to whom: `iss`, `aud` and `client_id`."""

    issuer: str
    audience: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; its times are in seconds since 1970."""

    user_id: UUID
    session_id: UUID
    not_before: int
    expires_at: int


def mint(
    keys: KeyRing,
    profile: Profile,
    *,
    user_id: UUID,
    session_id: UUID,
    created_at: datetime,
    expires_at: datetime,
) -> str:
    """A token for a session. Its times are the row's, in whole seconds: never past the deadline."""
    claims = {
        "iss": profile.issuer,
        "aud": profile.audience,
        "client_id": profile.client_id,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": str(uuid4()),
        "iat": int(created_at.timestamp()),
        "nbf": int(created_at.timestamp()),
        "exp": int(expires_at.timestamp()),
    }
    key = keys.signing
    signed = header_of(key.kid, key.algorithm) + b"." + segment(orjson.dumps(claims))
    signature = ALGORITHMS[key.algorithm].sign(signed, key.secret)
    return (signed + b"." + segment(signature)).decode()


@lru_cache(maxsize=16)
def header_of(kid: str, algorithm: str) -> bytes:
    """The first segment of every token that a key signs.

    What `jwt.encode` does anew for each (this, the key's form, the claims' types) costs six times
    as much as the signature.
    """
    return segment(orjson.dumps({"alg": algorithm, "kid": kid, "typ": TYPE}))


def segment(data: bytes) -> bytes:
    """Bytes as a part of a token (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Verifier:
    """Verifies tokens of one key ring, and keeps what it found: claims, never a verdict.

    Verifying takes 30 µs, half as much as all else that a request needs. A signature that was good
    stays good as long as its key is here; whether the session lives is asked every time. Only good
    tokens are kept, the last so many, so nobody can fill this without having been let in. A ring
    with other keys needs a Verifier of its own.
    """

    def __init__(self, keys: KeyRing, profile: Profile, *, capacity: int = CAPACITY) -> None:
        self._keys = keys
        self._profile = profile
        self._capacity = capacity
        self._kept: dict[bytes, Claims] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self, credential: bytes) -> Claims | None:
        """What is known of a credential; its times are for `refuse_untimely`, every time."""
        return self._kept.get(credential)

    def verify(self, token: str, credential: bytes) -> Claims:
        """What a token says that came in a credential, which is known from now on.

        Raises Unauthenticated: TOKEN_INVALID.
        """
        claims = verify(token, self._keys, self._profile)
        # "Bearer" may be followed by any number of spaces: one good token would fill this, in
        # spellings of 16 kB each.
        if len(credential) > len(SCHEME) + len(token):
            return claims
        if len(self._kept) >= self._capacity:
            del self._kept[next(iter(self._kept))]  # the one that came first
        self._kept[credential] = claims
        return claims


def verify(token: str, keys: KeyRing, profile: Profile) -> Claims:
    """What a token says, once all of it is as we mint it; its times are for `refuse_untimely`.

    Raises Unauthenticated: TOKEN_INVALID.
    """
    try:
        return checked(trusted_claims(token, keys), profile)
    except (ValueError, TypeError, KeyError):
        raise Unauthenticated(Reason.TOKEN_INVALID) from None


def peek(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims of a token that nobody has verified; None where there are none.

    For people who look at a token. Nothing may be decided by it.
    """
    try:
        header, payload, _ = map(canonical_bytes, token.split("."))
        return strict_object(header), strict_object(payload)
    except (ValueError, TypeError):
        return None


def refuse_untimely(claims: Claims, *, now: float) -> None:
    """Raises Unauthenticated for a token before or after its time, in seconds since 1970."""
    if claims.not_before > now + LEEWAY:
        raise Unauthenticated(Reason.TOKEN_INVALID)
    if claims.expires_at <= now:
        raise Unauthenticated(Reason.TOKEN_EXPIRED)


def trusted_claims(token: str, keys: KeyRing) -> dict[str, Any]:
    """The claims of a token whose signature is good and whose form is the one that we write.

    PyJWT checks the signature only: of the form it accepts padding, loose trailing bits, duplicate
    names and any `typ` (RFC 8725 3.11), so a token had many spellings.
    """
    if len(token) > MAX_BYTES or token.count(".") != SEGMENTS - 1:
        reject()
    header, payload, signature = map(canonical_bytes, token.split("."))
    key = key_of(strict_object(header), keys)
    signed = token.rpartition(".")[0].encode("ascii")
    if not ALGORITHMS[key.algorithm].verify(signed, key.secret, signature):
        reject()
    return strict_object(payload)


def key_of(header: dict[str, Any], keys: KeyRing) -> Key:
    """The key that a header names; nothing else in a header has a say (RFC 8725 3.1, 3.10)."""
    key = keys.verifying[text(header["kid"])]
    typ = text(header["typ"]).lower().removeprefix("application/")
    if header["alg"] != key.algorithm or typ != TYPE or header.keys() & CHANGES_THE_RULES:
        reject()
    return key


def checked(claims: dict[str, Any], profile: Profile) -> Claims:
    """The claims that matter, once each has its value or its type."""
    if (claims["iss"], claims["aud"]) != (profile.issuer, profile.audience):
        reject()
    text(claims["client_id"])
    canonical_uuid(claims["jti"])
    return Claims(
        user_id=canonical_uuid(claims["sub"]),
        session_id=canonical_uuid(claims["sid"]),
        not_before=max(whole_number(claims["iat"]), whole_number(claims["nbf"])),
        expires_at=whole_number(claims["exp"]),
    )


def canonical_bytes(given: str) -> bytes:
    """A segment's bytes, if it is the only base64url text for them."""
    decoded = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
    if segment(decoded) != given.encode("ascii"):
        raise binascii.Error
    return decoded


def strict_object(data: bytes) -> dict[str, Any]:
    """The JSON object that a segment holds."""
    value = strict_json.loads(data)
    if not isinstance(value, dict):
        reject()
    return value


def canonical_uuid(value: object) -> UUID:
    """The UUID in its one spelling: UUID() also takes braces, capitals and no hyphens.

    As asyncpg has them in rows: they are looked up and sent without Python's help, 2 µs a request.
    """
    found: UUID = pgproto.UUID(text(value))
    if str(found) != value:
        reject()
    return found


def whole_number(value: object) -> int:
    """Seconds since 1970. True is an int to Python, not to us; nor is 1.0."""
    if type(value) is not int or not 0 <= value < 2**53:
        reject()
    return value


def text(value: object) -> str:
    """A claim that must be a string."""
    if not isinstance(value, str):
        reject()
    return value


def reject() -> NoReturn:
    """Raises what verify turns into TOKEN_INVALID."""
    raise ValueError
