"""ID tokens of OpenID Connect: who signed in, in the words of an issuer that we chose.

An ID token is verified with keys that its issuer publishes. They are fetched beside the loop, kept
for a while, and fetched anew when a token names one that is not among them. Where they cannot be
had nobody gets in, and nobody is called an impostor either. What an ID token proves is one sign-in:
that its `nonce` is one of ours, and good once, is for the caller to see.
"""

import asyncio
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog

from auth import tokens

log = structlog.get_logger()

# Public keys only: whoever could verify with a shared secret could sign with it, too.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
KEY_TYPES = ("RSA", "EC", "OKP")
# What some providers write into ID tokens, because their access tokens are JWTs of the same `typ`
# and may be for the same client: Keycloak's `typ`, Cognito's `token_use`.
KINDS = {"typ": "ID", "token_use": "id"}
MAX_BYTES = 8192  # of a token
MAX_NAME = 255  # characters of `sub` (OpenID Connect Core 2), and of what else we keep
MAX_DOCUMENT = 256 * 1024  # bytes of a discovery document or a key set; large ones have 20,000
TIMEOUT = 4.0  # seconds that one sign-in waits for both documents
REFRESH_AFTER = 600  # seconds: so long a withdrawn key is still good
MAX_AGE = 3600  # seconds that keys are kept while the issuer cannot be reached
COOLDOWN = 30  # seconds between two fetches: anybody can write a `kid` that nobody knows

SIGNATURES = jwt.PyJWS(algorithms=sorted(ALGORITHMS), options={"enforce_minimum_key_length": True})


class InvalidIdTokenError(Exception):
    """The ID token proves nothing here. Which of its parts is wrong is told to nobody."""


class ProviderUnavailableError(Exception):
    """The issuer's keys cannot be had at the moment: nothing is known about the token."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A provider whose word counts, by the exact `iss` that it writes, and our name there."""

    url: str
    client_id: str


@dataclass(frozen=True, slots=True)
class IdToken:
    """What a verified ID token says; its times are in seconds since 1970."""

    issuer: str
    subject: str  # the issuer's name of the account; unique and never reused with that issuer only
    nonce: str
    auth_time: int | None
    issued_at: int


@dataclass(frozen=True, slots=True)
class Published:
    """What an issuer has published: the algorithms that it signs with, and its keys as JWKs."""

    algorithms: frozenset[str]
    keys: tuple[dict[str, Any], ...]

    def names(self, kid: str) -> bool:
        """Whether there is a key of that name."""
        return any(key["kid"] == kid for key in self.keys)

    def key(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The one key of that name, for one algorithm that is its own and the issuer's.

        Raises ValueError or PyJWTError where there is none.
        """
        (found,) = [key for key in self.keys if key["kid"] == kid]
        if algorithm not in self.algorithms or found.get("alg", algorithm) != algorithm:
            tokens.reject()
        return jwt.PyJWK(found, algorithm)


class Providers:
    """The configured issuers with their keys: one for all requests of a process."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._providers = {issuer.url: Provider(issuer) for issuer in issuers}

    def trusts(self, issuer: str) -> bool:
        """Whether an issuer is configured: those that once were let nobody in."""
        return issuer in self._providers

    async def verify(self, token: str, *, now: float) -> IdToken:
        """What a token says, once all of it holds at `now`, in seconds since 1970.

        Raises InvalidIdTokenError and ProviderUnavailableError. Whatever is wrong without a look
        at the signature is said first: no keys are fetched for it.
        """
        try:
            header, claims = parts(token)
            provider = self._providers[tokens.text(claims["iss"])]
            kid, algorithm = named_key(header)
            said = checked(claims, provider.issuer, now)
            key = (await provider.published(kid, now)).key(kid, algorithm)
            SIGNATURES.decode(token, key, algorithms=[algorithm])
        except (ValueError, TypeError, KeyError, jwt.PyJWTError):
            raise InvalidIdTokenError from None
        return said


class Provider:
    """An issuer and what it published when it was last asked.

    Ages are measured with the time that callers give. Where that went backwards by more than a
    limit, the limit counts as reached.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self._published: Published | None = None
        self._published_at = 0.0
        self._asked_at: float | None = None
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None
        # A thread of its own: an issuer that dawdles keeps nobody waiting but its own users.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="oidc")

    async def published(self, kid: str, now: float) -> Published:
        """What the issuer has published, fetched anew if it is old or does not name that key.

        Raises ProviderUnavailableError where a fetch failed and what we have cannot do without it.
        """
        if self._aged(REFRESH_AFTER, now) or not self._names(kid):
            await self._refresh(now)
        if self._published is None or self._aged(MAX_AGE, now):
            raise ProviderUnavailableError
        if self._failed and not self._names(kid):
            raise ProviderUnavailableError  # it may be a new key, which we could not fetch
        return self._published

    def _aged(self, limit: float, now: float) -> bool:
        return abs(now - self._published_at) >= limit

    def _names(self, kid: str) -> bool:
        return self._published is not None and self._published.names(kid)

    async def _refresh(self, now: float) -> None:
        """Joins the fetch under way, or starts one unless the last was a moment ago."""
        cooling = self._asked_at is not None and abs(now - self._asked_at) < COOLDOWN
        if self._fetching is None and not cooling:
            self._asked_at = now
            self._fetching = asyncio.create_task(self._fetch(now))
        if self._fetching is not None:
            # It goes on for the others who wait for it when this request is given up.
            await asyncio.shield(self._fetching)

    async def _fetch(self, now: float) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._thread, fetch, self.issuer.url)
        except (OSError, HTTPException, ValueError, TypeError, KeyError) as error:
            self._failed = True
            reason = f"{type(error).__name__}: {error}"[:200]
            log.warning("oidc_keys_unavailable", issuer=self.issuer.url, error=reason)
        else:
            self._failed = False
            self._published, self._published_at = found, now
        finally:
            self._fetching = None


# The token.


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that nobody has verified yet."""
    if len(token) > MAX_BYTES:
        tokens.reject()
    header, claims, _ = map(tokens.canonical_bytes, token.split("."))  # three, or ValueError
    return tokens.strict_object(header), tokens.strict_object(claims)


def named_key(header: dict[str, Any]) -> tuple[str, str]:
    """The `kid` and `alg` of a header; nothing else in it has a say (RFC 8725 3.1, 3.10, 3.11).

    A `kid` is required, which the standard asks for only where there are several keys: without it
    a rotation looks like a forgery.
    """
    kid, algorithm = tokens.text(header["kid"]), tokens.text(header["alg"])
    typ = tokens.text(header.get("typ", "JWT")).lower().removeprefix("application/")
    if algorithm not in ALGORITHMS or typ != "jwt" or "crit" in header:
        tokens.reject()
    return kid, algorithm


def checked(claims: dict[str, Any], issuer: Issuer, now: float) -> IdToken:
    """The claims that matter, once each has its value or its type (OpenID Connect Core 3.1.3.7)."""
    if any(claims.get(name, kind) != kind for name, kind in KINDS.items()):
        tokens.reject()
    refuse_other_clients(claims, issuer.client_id)
    refuse_untimely(claims, now)
    return IdToken(
        issuer=issuer.url,
        subject=plain(claims["sub"]),
        nonce=plain(claims["nonce"]),
        auth_time=claims.get("auth_time"),
        issued_at=claims["iat"],
    )


def refuse_other_clients(claims: dict[str, Any], client_id: str) -> None:
    """Raises ValueError for what was issued to somebody else, whoever else may read it."""
    audience = claims["aud"]
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in list(map(tokens.text, audiences)):
        tokens.reject()
    if claims.get("azp", client_id if len(audiences) == 1 else None) != client_id:
        tokens.reject()


def refuse_untimely(claims: dict[str, Any], now: float) -> None:
    """Raises ValueError before or after a token's time; the issuer's clock may be ahead a little.

    A sign-in that has not happened yet would pass for a fresh one for longer than it should.
    """
    past = [tokens.whole_number(claims["iat"])]
    past += [tokens.whole_number(claims[name]) for name in ("nbf", "auth_time") if name in claims]
    if max(past) > now + tokens.LEEWAY or tokens.whole_number(claims["exp"]) <= now:
        tokens.reject()


def plain(value: object) -> str:
    """A name in printable ASCII, as the standard has it: nothing that a database cannot hold."""
    found = tokens.text(value)
    if not 0 < len(found) <= MAX_NAME or not found.isascii() or not found.isprintable():
        tokens.reject()
    return found


# The issuer's documents; this blocks, in a thread.


def fetch(issuer: str) -> Published:
    """What an issuer publishes at this moment (OpenID Connect Discovery 4, RFC 7517 5).

    Raises OSError, HTTPException, ValueError, TypeError or KeyError.
    """
    until = time.monotonic() + TIMEOUT
    about = document(f"{issuer.removesuffix('/')}/.well-known/openid-configuration", until)
    if about["issuer"] != issuer:
        raise ValueError("the discovery document is of another issuer")
    algorithms = ALGORITHMS.intersection(about["id_token_signing_alg_values_supported"])
    where = tokens.text(about["jwks_uri"])
    refuse_unsafe(where)
    if urlsplit(where).scheme != urlsplit(issuer).scheme:
        raise ValueError("jwks_uri has another scheme than the issuer")
    keys = document(where, until)["keys"]
    if not isinstance(keys, list):
        raise TypeError("keys is no list")
    # None at all is an answer, too: everything has been withdrawn.
    return Published(algorithms, tuple(key for key in keys if is_usable(key)))


def document(url: str, until: float) -> dict[str, Any]:
    """The JSON object at an address, read until a moment of the monotonic clock."""
    body = b""
    with opener().open(url, timeout=TIMEOUT) as response:
        if response.status != 200:  # noqa: PLR2004 -- a redirect, too
            raise ValueError(f"{url} answers {response.status}")
        while chunk := response.read1(MAX_DOCUMENT):
            body += chunk
            if len(body) > MAX_DOCUMENT or time.monotonic() > until:
                raise ValueError(f"{url} is too large or too slow")
    return tokens.strict_object(body)


def opener() -> urllib.request.OpenerDirector:
    """HTTP and nothing more: no redirects, no file:, no proxy but for what is encrypted anyway."""
    proxies = {k: v for k, v in urllib.request.getproxies().items() if k == "https"}
    director = urllib.request.OpenerDirector()
    director.addheaders = [("User-Agent", "bigtwo-sessions"), ("Accept", "application/json")]
    director.add_handler(urllib.request.ProxyHandler(proxies))
    director.add_handler(urllib.request.HTTPHandler())
    director.add_handler(urllib.request.HTTPSHandler())
    return director


def is_usable(key: Any) -> bool:
    """Whether a JWK is a named public key that signs; others may stand beside it (RFC 7517 5)."""
    return (
        isinstance(key, dict)
        and isinstance(key.get("kid"), str)
        and key.get("kty") in KEY_TYPES
        and key.get("use", "sig") == "sig"
        and "verify" in key.get("key_ops", ["verify"])
        and "d" not in key  # a private key that everybody knows
    )


# The setting.


def parse_issuers(text: str) -> tuple[Issuer, ...]:
    """The issuers of a setting like `https://issuer.example client-id, https://other.example id`.

    Raises ValueError with a sentence for people.
    """
    issuers = tuple(parse_issuer(item) for item in text.split(",") if item.strip())
    urls = [issuer.url for issuer in issuers]
    if twice := sorted({url for url in urls if urls.count(url) > 1}):
        raise ValueError(f"{', '.join(map(repr, twice))}: an issuer stands here once")
    return issuers


def parse_issuer(item: str) -> Issuer:
    """One item of the setting."""
    words = item.split()
    if len(words) != 2:  # noqa: PLR2004
        raise ValueError(
            f"{item.strip()!r}: write an issuer and our client id there, separated by a space,"
            " like https://issuer.example client-id"
        )
    url, client_id = words
    refuse_unsafe(url)
    if "?" in url or "#" in url:
        raise ValueError(f"{url!r}: an issuer has no query and no fragment")
    return Issuer(url, client_id)


def refuse_unsafe(url: str) -> None:
    """Raises ValueError for an address from which nobody should take keys."""
    if not is_address(url):
        raise ValueError(f"{url!r}: write an address like https://issuer.example")
    parts = urlsplit(url)
    if parts.username is not None:
        raise ValueError(f"{url!r}: an address of keys has no credentials")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"{url!r}: plain http is for a provider on this machine; use https")


def is_address(url: str) -> bool:
    """Whether a text is an address that can be asked over HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    known = parts.scheme in {"https", "http"} and bool(parts.hostname)
    return known and port != 0 and url.isascii() and url.isprintable()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
