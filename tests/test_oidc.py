"""ID tokens, of npm's oidc-provider running beside the tests, and by real sign-ins there.

The tests make the provider's keys, so that they can sign with them what it never would: a test
then shows that the one thing that it changes is what is refused. Time is what `verify` is told.
"""

import asyncio
import base64
import hmac
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from auth import keys, oidc, tokens
from tests import npm

HERE = Path(__file__).parent / "oidc_provider"
US, THEM = "bigtwo", "somebody-else"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
HOLD = None  # an answer that does not come for now
DRIP = {"drip": True}  # one that never ends
SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"

PATHS = {"about": "/.well-known/openid-configuration", "keys": "/jwks"}

Json = dict[str, Any]


# The provider: a program of its own, led by lines.


@pytest.fixture(scope="session")
def command() -> list[str]:
    """What starts a provider."""
    node, folder = npm.installed(HERE)
    return [node, str(HERE / "server.mjs"), str(folder)]


class Keys:
    """The private keys of an issuer: one for each algorithm, each with a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.private: dict[str, Any] = {
            "RS256": rsa.generate_private_key(65537, 2048),
            "PS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }

    def kid(self, algorithm: str) -> str:
        """The name of a key."""
        return f"{self.name}-{algorithm}"

    def jwks(self) -> Json:
        """All of them as the provider takes them."""
        named = self.private.items()
        return {"keys": [jwk(key) | {"kid": self.kid(a), "alg": a} for a, key in named]}

    def signature(self, algorithm: str, signed: bytes) -> bytes:
        """What the provider would sign, or would never."""
        key, sha256 = self.private[algorithm], hashes.SHA256()
        if algorithm == "RS256":
            return bytes(key.sign(signed, padding.PKCS1v15(), sha256))
        return bytes(key.sign(signed))

    def public_pem(self, algorithm: str) -> bytes:
        """The public key as everybody may know it."""
        public = self.private[algorithm].public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return bytes(public.public_bytes(serialization.Encoding.PEM, form))


def jwk(key: Any) -> Json:
    """A private key as a JWK (RFC 7518 6, RFC 8037 2)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        public = key.public_key().public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519"} | spelt(x=public, d=key.private_bytes_raw())
    numbers = key.private_numbers()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = numbers.public_numbers
        named = {"x": point.x, "y": point.y, "d": numbers.private_value}
        octets = {name: number.to_bytes(32, "big") for name, number in named.items()}
        return {"kty": "EC", "crv": "P-256"} | spelt(**octets)
    primes = spelt(p=numbers.p, q=numbers.q, dp=numbers.dmp1, dq=numbers.dmq1, qi=numbers.iqmp)
    public = numbers.public_numbers
    return {"kty": "RSA"} | spelt(n=public.n, e=public.e, d=numbers.d) | primes


def spelt(**members: int | bytes) -> dict[str, str]:
    """Numbers and bytes as a JWK has them."""
    return {
        name: encoded(v if isinstance(v, bytes) else v.to_bytes((v.bit_length() + 7) // 8, "big"))
        for name, v in members.items()
    }


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


@cache
def own_keys() -> Keys:
    """The keys with which every provider begins."""
    return Keys("first")


@cache
def later_keys() -> Keys:
    """The keys to which one changes over."""
    return Keys("later")


class Provider:
    """A provider's process, and a browser in front of it."""

    def __init__(self, process: subprocess.Popen[str], certificate: Path | None) -> None:
        self.process = process
        self.trust = ssl.create_default_context(cafile=certificate)
        pem = certificate and certificate.read_text()
        clients = [client(name, "RS256") for name in (US, THEM)]
        clients[0]["require_auth_time"] = True
        clients += [client(f"{US}-{algorithm}", algorithm) for algorithm in ALGORITHMS]
        self.keys = own_keys()
        self.start = {"jwks": self.keys.jwks(), "clients": clients}
        self.start |= {"tls": {"key": pem, "cert": pem}} if pem else {}
        self.issuer: str = self.tell("start", **self.start)["issuer"]

    def tell(self, verb: str, **rest: Any) -> Json:
        """Gives an order; what was answered."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": verb, **rest}) + "\n")
        self.process.stdin.flush()
        answer: Json = json.loads(self.process.stdout.readline())
        return answer

    def rotate(self, new: Keys) -> None:
        """The same issuer, with other keys from now on."""
        self.keys = new
        self.tell("rotate", jwks=new.jwks())

    def can(self, **answers: Any) -> None:
        """Answers of ours for `about` and `keys`; without one the provider answers itself."""
        self.tell("can", answers={PATHS[name]: answer for name, answer in answers.items()})

    def asked_for_keys(self) -> int:
        """How often, since this was last asked."""
        count: int = self.tell("count").get(PATHS["keys"], 0)
        return count

    def sign_in(self, client_id: str = US, subject: str = "mia", **more: Any) -> Json:
        """The tokens of a sign-in with an authorization code (OpenID Connect Core 3.1)."""
        query = {"client_id": client_id, "response_type": "code", "scope": "openid"}
        query |= {"redirect_uri": f"{self.issuer}/callback", "login_hint": subject}
        with httpx2.Client(follow_redirects=True, verify=self.trust) as browser:
            arrived = browser.get(f"{self.issuer}/auth", params=query | {"nonce": "n-1"} | more).url
            (code,) = parse_qs(urlsplit(str(arrived)).query)["code"]
            form = {"grant_type": "authorization_code", "code": code}
            form |= {"client_id": client_id, "client_secret": "of no matter"}
            form |= {"redirect_uri": f"{self.issuer}/callback"}
            answer: Json = browser.post(f"{self.issuer}/token", data=form).json()
            return answer

    def id_token(self, client_id: str = US, **more: Any) -> str:
        """The ID token of a sign-in."""
        token: str = self.sign_in(client_id, **more)["id_token"]
        return token

    def published(self, name: str) -> Json:
        """What the provider says about itself, or its keys."""
        found: Json = httpx2.get(self.issuer + PATHS[name], verify=self.trust).json()
        return found


def client(name: str, algorithm: str) -> Json:
    return {
        "client_id": name,
        "client_secret": "of no matter",
        "token_endpoint_auth_method": "client_secret_post",
        "id_token_signed_response_alg": algorithm,
    }


@contextmanager
def running(command: list[str], certificate: Path | None = None) -> Iterator[Provider]:
    """One provider, over TLS if it has a certificate; it ends with its input."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            yield Provider(process, certificate)
        finally:
            process.communicate(timeout=30)


@pytest.fixture(scope="session")
def process(command: list[str]) -> Iterator[Provider]:
    with running(command) as started:
        yield started


@pytest.fixture(scope="session")
def other(command: list[str]) -> Iterator[Provider]:
    """Another provider, of which the same may be asked."""
    with running(command) as started:
        yield started


@pytest.fixture
def provider(process: Provider) -> Iterator[Provider]:
    """The provider, afterwards as it was."""
    process.tell("count")
    yield process
    process.can()
    if process.keys is not own_keys():
        process.rotate(own_keys())


@pytest.fixture
def providers(provider: Provider) -> oidc.Providers:
    """What verifies: this one issuer is configured."""
    return oidc.Providers([oidc.Issuer(provider.issuer, US)])


def claims_of(token: str) -> Json:
    """What a token says, whoever signed it."""
    found: Json = decoded(token.split(".")[1])
    return found


def issued(token: str) -> int:
    """When a token was made: the `now` of most tests."""
    at: int = claims_of(token)["iat"]
    return at


async def refused(providers: oidc.Providers, *wrong: str, now: float) -> None:
    """Whether each is refused, and all alike."""
    for token in wrong:
        with pytest.raises(oidc.InvalidIdTokenError) as caught:
            await providers.verify(token, now=now)
        assert caught.value.args == ()
        assert caught.value.__cause__ is None


async def accepted(providers: oidc.Providers, *good: str, now: float) -> None:
    """Whether each is the word of its issuer."""
    for token in good:
        assert (await providers.verify(token, now=now)).issuer == claims_of(token)["iss"]


async def unavailable(providers: oidc.Providers, token: str, *, now: float) -> None:
    """Whether nobody can say."""
    with pytest.raises(oidc.ProviderUnavailableError):
        await providers.verify(token, now=now)


class Forge:
    """A good ID token, and the hand that signs changed ones with the provider's own key."""

    def __init__(self, token: str, signer: Keys) -> None:
        self.token = token
        self.signer = signer
        self.header, self.claims = (decoded(part) for part in token.split(".")[:2])
        self.now = issued(token)

    def sign(self, header: Json | bytes, claims: Json | bytes) -> str:
        """A token of these parts, whatever they are."""
        parts = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, claims)]
        signed = ".".join(map(encoded, parts))
        return f"{signed}.{encoded(self.signer.signature('RS256', signed.encode()))}"

    def with_header(self, **changes: Any) -> str:
        """A signed token with another header."""
        return self.sign(changed(self.header, changes), self.claims)

    def with_claims(self, **changes: Any) -> str:
        """A signed token with other claims."""
        return self.sign(self.header, changed(self.claims, changes))


def changed(members: Json, changes: Json) -> Json:
    """The members with some of them changed; `...` takes one away."""
    return {k: v for k, v in (members | changes).items() if v is not ...}


@pytest.fixture
def forge(provider: Provider) -> Forge:
    return Forge(provider.id_token(), provider.keys)


# What is good.


async def test_a_sign_in_is_told_as_it_was(provider: Provider, providers: oidc.Providers) -> None:
    signed_in_at = 1_700_000_000
    token = provider.id_token(subject="zoë".encode().hex(), nonce="a-nonce", login_at=signed_in_at)
    assert await providers.verify(token, now=issued(token)) == oidc.IdToken(
        issuer=provider.issuer,
        subject="zoë".encode().hex(),
        nonce="a-nonce",
        auth_time=signed_in_at,
        issued_at=issued(token),
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_of_the_provider_is_understood(
    provider: Provider, algorithm: str
) -> None:
    own = oidc.Providers([oidc.Issuer(provider.issuer, f"{US}-{algorithm}")])
    token = provider.id_token(f"{US}-{algorithm}")
    assert decoded(token.split(".")[0])["alg"] == algorithm
    verified = await own.verify(token, now=issued(token))
    assert (verified.subject, verified.auth_time) == ("mia", None)


async def test_many_at_once_ask_the_provider_once(
    provider: Provider, providers: oidc.Providers
) -> None:
    token = provider.id_token()
    verified = await asyncio.gather(
        *(providers.verify(token, now=issued(token)) for _ in range(50))
    )
    assert {one.subject for one in verified} == {"mia"}
    assert provider.asked_for_keys() == 1


async def test_the_hand_that_forges_writes_what_is_accepted(
    forge: Forge, providers: oidc.Providers
) -> None:
    good = [
        forge.with_claims(),
        forge.with_header(typ="JWT"),
        forge.with_header(typ="application/jwt"),
        forge.with_claims(aud=[US]),
        forge.with_claims(aud=[US], azp=US),
        forge.with_claims(aud=[THEM, US], azp=US),
        forge.with_claims(sub="s" * 255),
        forge.with_claims(nbf=forge.now),
        forge.with_claims(typ="ID", token_use="id"),
        forge.with_claims(more="x" * 5000),
    ]
    await accepted(providers, *good, now=forge.now)


# What is not for us, or not now.


async def test_a_token_for_another_client_is_refused(
    provider: Provider, providers: oidc.Providers
) -> None:
    token = provider.id_token(THEM)
    await refused(providers, token, now=issued(token))
    theirs = oidc.Providers([oidc.Issuer(provider.issuer, THEM)])
    assert (await theirs.verify(token, now=issued(token))).subject == "mia"


async def test_a_token_of_an_issuer_that_is_not_configured_is_refused(
    other: Provider, providers: oidc.Providers
) -> None:
    other.tell("count")
    token = other.id_token()
    await refused(providers, token, now=issued(token))
    assert other.asked_for_keys() == 0


async def test_an_issuer_speaks_for_itself_only(provider: Provider, other: Provider) -> None:
    both = oidc.Providers([oidc.Issuer(provider.issuer, US), oidc.Issuer(other.issuer, US)])
    other.rotate(later_keys())
    try:
        forge = Forge(other.id_token(), other.keys)
        assert (await both.verify(forge.token, now=forge.now)).issuer == other.issuer
        await refused(both, forge.with_claims(iss=provider.issuer), now=forge.now)
    finally:
        other.rotate(own_keys())


async def test_an_issuer_has_one_spelling(forge: Forge, providers: oidc.Providers) -> None:
    issuer = forge.claims["iss"]
    spellings = [f"{issuer}/", issuer.upper(), f" {issuer}", "", None, [issuer], {}, ...]
    wrong = [forge.with_claims(iss=spelling) for spelling in spellings]
    await refused(providers, *wrong, now=forge.now)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ...},
        {"aud": ""},
        {"aud": None},
        {"aud": []},
        {"aud": {US: US}},
        {"aud": [THEM]},
        {"aud": [US, None], "azp": US},
        {"aud": f"{US} {THEM}"},
        {"aud": US.upper()},
        {"aud": [US, THEM]},
        {"aud": [US, US]},
        {"aud": [US, THEM], "azp": THEM},
        {"aud": [US, THEM], "azp": [US]},
        {"azp": THEM},
        {"azp": None},
        {"azp": ""},
    ],
    ids=str,
)
async def test_audience_and_authorized_party_are_us(
    forge: Forge, providers: oidc.Providers, changes: Json
) -> None:
    await refused(providers, forge.with_claims(**changes), now=forge.now)


async def test_a_token_ends_at_its_end(provider: Provider, providers: oidc.Providers) -> None:
    token = provider.id_token()
    exp = claims_of(token)["exp"]
    await accepted(providers, token, now=exp - 0.001)
    await refused(providers, token, now=exp)


async def test_the_providers_clock_may_be_a_minute_ahead(
    provider: Provider, providers: oidc.Providers
) -> None:
    token = provider.id_token()
    await accepted(providers, token, now=issued(token) - 60)
    await refused(providers, token, now=issued(token) - 60.001)


@pytest.mark.parametrize("name", ["iat", "nbf", "auth_time"])
async def test_what_lies_in_the_future_is_refused(
    forge: Forge, providers: oidc.Providers, name: str
) -> None:
    await accepted(providers, forge.with_claims(**{name: forge.now + 60}), now=forge.now)
    await refused(providers, forge.with_claims(**{name: forge.now + 61}), now=forge.now)


@pytest.mark.parametrize("name", ["iat", "nbf", "exp", "auth_time"])
async def test_times_are_whole_numbers(forge: Forge, providers: oidc.Providers, name: str) -> None:
    later = forge.now + 1
    values: list[Any] = [None, True, str(later), float(later), -1, 2**53, float("nan"), [later], {}]
    wrong = [forge.with_claims(**{name: value}) for value in values]
    wrong += [] if name in {"nbf", "auth_time"} else [forge.with_claims(**{name: ...})]
    await refused(providers, *wrong, now=forge.now)


@pytest.mark.parametrize("name", ["sub", "nonce"])
async def test_names_are_printable_text(forge: Forge, providers: oidc.Providers, name: str) -> None:
    values: list[Any] = [..., None, "", 5, True, ["mia"], {}]
    values += ["s" * 256, "mia\0", "mia\n", "zoë", "\ud800"]
    await refused(providers, *(forge.with_claims(**{name: v}) for v in values), now=forge.now)


# What is no ID token.


async def test_an_access_token_is_refused(provider: Provider, providers: oidc.Providers) -> None:
    token = provider.sign_in(nonce="n-1")["access_token"]
    header, claims = decoded(token.split(".")[0]), claims_of(token)
    assert (header["typ"], claims["aud"], claims["iss"]) == ("at+jwt", US, provider.issuer)
    await refused(providers, token, now=issued(token))


async def test_a_type_that_is_not_an_id_tokens_is_refused(
    forge: Forge, providers: oidc.Providers
) -> None:
    types = ["at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "", None, 5]
    wrong = [forge.with_header(typ=typ) for typ in types]
    wrong += [forge.with_claims(typ="Bearer"), forge.with_claims(token_use="access")]
    await refused(providers, *wrong, now=forge.now)


async def test_our_own_token_is_refused(provider: Provider, providers: oidc.Providers) -> None:
    now = datetime.now(UTC)
    user, profile = uuid4(), tokens.Profile(provider.issuer, US, US)
    own = tokens.mint(
        keys.ring(SECRET),
        profile,
        user_id=user,
        session_id=user,
        created_at=now,
        expires_at=now + timedelta(days=1),
    )
    await refused(providers, own, now=now.timestamp())


# Signatures.


async def test_a_changed_token_is_refused(provider: Provider, providers: oidc.Providers) -> None:
    header, claims, signature = provider.id_token().split(".")
    now = decoded(claims)["iat"]
    other_claims = encoded(json.dumps(decoded(claims) | {"sub": "somebody"}).encode())
    flipped = ("B" if signature[0] != "B" else "C") + signature[1:]
    wrong = [f"{header}.{other_claims}.{signature}", f"{header}.{claims}.{flipped}"]
    wrong += [f"{header}.{claims}.{signature[4:]}", f"{header}.{claims}."]
    await refused(providers, *wrong, now=now)


async def test_a_key_of_somebody_else_under_the_providers_name_is_refused(
    forge: Forge, providers: oidc.Providers
) -> None:
    forged = Forge(forge.token, later_keys()).with_claims()
    await refused(providers, forged, now=forge.now)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None], ids=repr)
async def test_an_unsigned_token_is_refused(
    forge: Forge, providers: oidc.Providers, alg: str | None
) -> None:
    signed = forge.with_header(alg=alg)
    await refused(providers, signed, signed.rpartition(".")[0] + ".", now=forge.now)


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_secret_to_sign_with(
    provider: Provider, forge: Forge, providers: oidc.Providers, alg: str
) -> None:
    hashed = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[alg]
    pem = forge.signer.public_pem("RS256")
    (public,) = [k for k in provider.published("keys")["keys"] if k["kid"] == "first-RS256"]
    signed = forge.with_header(alg=alg).rpartition(".")[0]
    for secret in (pem, pem.strip(), json.dumps(public).encode(), public["n"].encode(), b""):
        forged = hmac.new(secret, signed.encode(), hashed).digest()
        await refused(providers, f"{signed}.{encoded(forged)}", now=forge.now)


async def test_another_algorithm_than_the_keys_own_is_refused(
    forge: Forge, providers: oidc.Providers
) -> None:
    others = ["RS384", "RS512", "PS256", "ES256", "EdDSA", "ES256K", "RS1", "rs256", "RS256 ", 5]
    await refused(providers, *(forge.with_header(alg=alg) for alg in others), now=forge.now)


async def test_a_key_of_the_header_is_no_key(forge: Forge, providers: oidc.Providers) -> None:
    stranger = Forge(forge.token, later_keys())
    (own,) = [key for key in later_keys().jwks()["keys"] if key["alg"] == "RS256"]
    at = "http://127.0.0.1:9/jwks"
    wrong = [stranger.with_header(jwk=own), stranger.with_header(jku=at), forge.with_header(kid=5)]
    wrong += [forge.with_header(kid=...), forge.with_header(kid=None), forge.with_header(crit=[])]
    wrong += [forge.with_header(crit=["b64"], b64=True), forge.with_header(b64=False)]
    await refused(providers, *wrong, now=forge.now)


# The form.


async def test_a_token_has_one_spelling(forge: Forge, providers: oidc.Providers) -> None:
    header, claims, signature = forge.token.split(".")
    wrong = [f"{forge.token}=", f" {forge.token}", f"{forge.token}\n", f"{forge.token}.", ""]
    wrong += [f"{header}..{signature}", f"{header}.{claims}.{claims}.{claims}.{signature}"]
    wrong += [with_loose_bits(forge.token)]
    wrong += [f"{header}.{claims}.{signature}é", forge.token.replace(".", "\uff0e")]
    await refused(providers, *wrong, now=forge.now)


def with_loose_bits(token: str) -> str:
    """The same signature, spelt otherwise: 256 bytes leave four bits of the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


async def test_the_parts_are_strict_json(forge: Forge, providers: oidc.Providers) -> None:
    header, claims = (json.dumps(part).encode() for part in (forge.header, forge.claims))
    wrong = [forge.sign(header[:-1] + b', "alg": "RS256"}', claims)]
    wrong += [forge.sign(header, claims[:-1] + b', "sub": "mia"}')]
    for bad in (
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"\xef\xbb\xbf" + claims,
        claims.decode().encode("utf-16"),
    ):
        wrong += [forge.sign(header, bad), forge.sign(bad, claims)]
    wrong += [forge.sign(header, deep) for deep in (b"[" * 5000, b'{"a":' * 1000, b"9" * 5000)]
    await refused(providers, *wrong, now=forge.now)


async def test_a_token_of_more_than_8_kb_is_refused_although_it_is_signed(
    forge: Forge, providers: oidc.Providers
) -> None:
    long = forge.with_claims(more="x" * 6000)
    assert len(long) > 8192
    await refused(providers, long, now=forge.now)


# Keys that change.


async def test_a_new_key_is_found_and_an_old_one_forgotten(
    provider: Provider, providers: oidc.Providers
) -> None:
    old = provider.id_token()
    now = issued(old)
    await accepted(providers, old, now=now)
    provider.rotate(later_keys())
    new = provider.id_token()
    await accepted(providers, new, now=now + oidc.COOLDOWN)
    await refused(providers, old, now=now + oidc.COOLDOWN)
    assert provider.asked_for_keys() == 2


async def test_a_withdrawn_key_is_good_for_ten_minutes_at_most(
    provider: Provider, providers: oidc.Providers
) -> None:
    old = provider.id_token()
    now = issued(old)
    await accepted(providers, old, now=now)
    provider.rotate(later_keys())
    await accepted(providers, old, now=now + oidc.REFRESH_AFTER - 1)
    await refused(providers, old, now=now + oidc.REFRESH_AFTER)


async def test_keys_that_nobody_knows_are_asked_for_twice_a_minute(
    provider: Provider, forge: Forge, providers: oidc.Providers
) -> None:
    for second in range(60):
        unknown = forge.with_header(kid=f"nobody's-{second}")
        await refused(providers, unknown, now=forge.now + second)
    assert provider.asked_for_keys() == 2
    await accepted(providers, forge.token, now=forge.now + 60)
    assert provider.asked_for_keys() == 0


async def test_what_is_wrong_anyway_asks_for_no_keys(
    provider: Provider, forge: Forge, providers: oidc.Providers
) -> None:
    wrong = [forge.with_claims(aud=THEM), forge.with_claims(exp=1), forge.with_header(alg="HS256")]
    await refused(providers, *wrong, now=forge.now)
    assert provider.asked_for_keys() == 0


async def test_a_clock_set_back_keeps_no_key_alive(
    provider: Provider, providers: oidc.Providers
) -> None:
    old = provider.id_token()
    await accepted(providers, old, now=issued(old) + 2 * oidc.MAX_AGE)
    provider.rotate(later_keys())
    await refused(providers, old, now=issued(old))
    await accepted(providers, provider.id_token(), now=issued(old))
    assert provider.asked_for_keys() == 2


# Keys that cannot be had.


@pytest.fixture
def away(provider: Provider) -> Iterator[Callable[[], None]]:
    """Takes the provider away; it is back after the test, or at a second call."""
    gone = False

    def toggle() -> None:
        nonlocal gone
        provider.tell("resume" if gone else "stop")
        gone = not gone

    yield toggle
    if gone:
        toggle()


async def test_without_keys_nobody_can_say(
    provider: Provider, providers: oidc.Providers, away: Callable[[], None]
) -> None:
    token = provider.id_token()
    now = issued(token)
    away()
    await unavailable(providers, token, now=now)
    away()
    await unavailable(providers, token, now=now + oidc.COOLDOWN - 1)
    assert provider.asked_for_keys() == 0
    await accepted(providers, token, now=now + oidc.COOLDOWN)


async def test_kept_keys_serve_for_an_hour(
    forge: Forge, providers: oidc.Providers, away: Callable[[], None]
) -> None:
    await accepted(providers, forge.token, now=forge.now)
    away()
    for age in (1, oidc.REFRESH_AFTER, oidc.MAX_AGE - 1):
        await accepted(providers, forge.token, now=forge.now + age)
    await refused(providers, forge.with_claims(sub=""), now=forge.now + oidc.MAX_AGE)
    await unavailable(providers, forge.token, now=forge.now + oidc.MAX_AGE)
    away()
    await accepted(providers, forge.token, now=forge.now + oidc.MAX_AGE + oidc.COOLDOWN)


async def test_of_an_unknown_key_nobody_can_say_while_the_provider_is_away(
    forge: Forge, providers: oidc.Providers, away: Callable[[], None]
) -> None:
    await accepted(providers, forge.token, now=forge.now)
    away()
    unknown = forge.with_header(kid="perhaps-a-new-one")
    await unavailable(providers, unknown, now=forge.now + oidc.COOLDOWN)
    away()
    await refused(providers, unknown, now=forge.now + 2 * oidc.COOLDOWN)


async def test_operators_read_why_and_nothing_of_the_token(
    provider: Provider, providers: oidc.Providers, away: Callable[[], None]
) -> None:
    token = provider.id_token()
    away()
    with capture_logs() as lines:
        for second in range(3):
            await unavailable(providers, token, now=issued(token) + second)
    (line,) = lines
    assert (line["event"], line["issuer"]) == ("oidc_keys_unavailable", provider.issuer)
    assert "refused" in line["error"]
    assert set(line) == {"event", "log_level", "issuer", "error"}


async def test_a_provider_that_does_not_answer_holds_nobody_else_up(
    provider: Provider, other: Provider
) -> None:
    both = oidc.Providers([oidc.Issuer(provider.issuer, US), oidc.Issuer(other.issuer, US)])
    slow, quick = provider.id_token(), other.id_token()
    provider.can(about=HOLD)
    waiting = asyncio.create_task(both.verify(slow, now=issued(slow)))
    assert (await both.verify(quick, now=issued(quick))).issuer == other.issuer
    assert not waiting.done()
    provider.can()
    assert (await waiting).issuer == provider.issuer


async def test_a_fetch_outlives_who_asked_for_it(
    provider: Provider, providers: oidc.Providers
) -> None:
    token = provider.id_token()
    provider.can(about=HOLD)
    first = asyncio.create_task(providers.verify(token, now=issued(token)))
    later = issued(token) + oidc.COOLDOWN
    second = asyncio.create_task(providers.verify(token, now=later))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    provider.can()
    assert (await second).subject == "mia"
    assert provider.asked_for_keys() == 1


async def test_nobody_waits_for_ever(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "TIMEOUT", 0.2)
    token = provider.id_token()
    for name in ("about", "keys"):
        provider.can(**{name: HOLD})
        own = oidc.Providers([oidc.Issuer(provider.issuer, US)])
        await unavailable(own, token, now=issued(token))


async def test_an_answer_that_never_ends_is_given_up(
    provider: Provider, providers: oidc.Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = provider.id_token()
    provider.can(keys=DRIP)
    with monkeypatch.context() as patched:
        patched.setattr(oidc, "TIMEOUT", 0.2)
        await unavailable(providers, token, now=issued(token))
    provider.can()
    await accepted(providers, token, now=issued(token) + oidc.COOLDOWN)


# Documents that are not what they should be.

Answer = Callable[[Provider], Json]

WRONG_ANSWERS: dict[str, tuple[str, Answer]] = {
    "moved": ("about", lambda p: moved(p, "about", 302)),
    "moved keys": ("keys", lambda p: moved(p, "keys", 302)),
    "moved for good": ("keys", lambda p: moved(p, "keys", 308)),
    "failed": ("keys", lambda p: same(p, "keys") | {"status": 500}),
    "no JSON": ("about", lambda _: {"body": "<html>"}),
    "nothing": ("keys", lambda _: {"body": ""}),
    "a list": ("keys", lambda _: {"body": "[]"}),
    "keys that are no list": ("keys", lambda _: {"body": '{"keys": {}}'}),
    "said twice": ("about", lambda p: {"body": same(p, "about")["body"][:-1] + ',"issuer":"x"}'}),
    "too large": ("keys", lambda p: {"body": same(p, "keys")["body"] + " " * oidc.MAX_DOCUMENT}),
    "cut off": ("keys", lambda p: same(p, "keys") | {"headers": {"Content-Length": "100"}}),
    "another issuer": ("about", lambda p: about(p, issuer=f"{p.issuer}/")),
    "no issuer": ("about", lambda p: about(p, issuer=...)),
    "keys in the clear": ("about", lambda p: about(p, jwks_uri=seemingly_elsewhere(p))),
    "keys in a file": ("about", lambda p: about(p, jwks_uri="file:///etc/passwd")),
    "no keys": ("about", lambda p: about(p, jwks_uri=...)),
    "no algorithms": ("about", lambda p: about(p, id_token_signing_alg_values_supported=...)),
}


def moved(provider: Provider, name: str, status: int) -> Json:
    """A redirect to where the document is, and the document itself, too."""
    return same(provider, name) | {"status": status, "headers": {"Location": f"{PATHS[name]}?here"}}


def seemingly_elsewhere(provider: Provider) -> str:
    """The address of the keys, which answers, in a spelling that is not plainly loopback's."""
    return provider.issuer.replace("127.0.0.1", "127.1") + PATHS["keys"]


def same(provider: Provider, name: str) -> Json:
    return {"body": json.dumps(provider.published(name))}


def about(provider: Provider, **changes: Any) -> Json:
    return {"body": json.dumps(changed(provider.published("about"), changes))}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
async def test_a_document_that_is_wrong_is_no_document(
    provider: Provider, providers: oidc.Providers, name: str
) -> None:
    token = provider.id_token()
    which, answer = WRONG_ANSWERS[name]
    provider.can(**{which: answer(provider)})
    await unavailable(providers, token, now=issued(token))
    provider.can()
    await accepted(providers, token, now=issued(token) + oidc.COOLDOWN)


async def test_an_issuer_may_end_with_a_slash(provider: Provider, forge: Forge) -> None:
    issuer = f"{provider.issuer}/"
    provider.can(about=about(provider, issuer=issuer))
    providers = oidc.Providers([oidc.Issuer(issuer, US)])
    await accepted(providers, forge.with_claims(iss=issuer), now=forge.now)


async def test_the_provider_says_with_which_algorithms_it_signs(
    provider: Provider, providers: oidc.Providers
) -> None:
    token = provider.id_token()
    provider.can(about=about(provider, id_token_signing_alg_values_supported=["ES256", "none"]))
    await refused(providers, token, now=issued(token))


Change = Callable[[Json], list[Any]]

WRONG_KEYS: dict[str, Change] = {
    "none": lambda _: [],
    "for encryption": lambda key: [key | {"use": "enc"}],
    "for other operations": lambda key: [key | {"key_ops": ["encrypt"]}],
    "of another algorithm": lambda key: [key | {"alg": "RS512"}],
    "of another type": lambda key: [key | {"kty": "EC"}],
    "a shared secret": lambda key: [key | {"kty": "oct", "k": key["n"]}],
    "private": lambda key: [k for k in own_keys().jwks()["keys"] if k["kid"] == key["kid"]],
    "without a name": lambda key: [changed(key, {"kid": ...})],
    "of a name that two have": lambda key: [key, key | {"use": "sig"}],
    "no keys": lambda _: [None, 5, "x", [], {}],
    "broken": lambda key: [key | {"n": "!"}],
    "not text": lambda key: [key | {"n": 5}],
    "too short": lambda key: [key | jwk_of_1024_bits()],
}


def jwk_of_1024_bits() -> dict[str, str]:
    """The public half of a key that is too short by today's measure."""
    return spelt(n=(1 << 1023) + 1, e=65537)


@pytest.mark.parametrize("name", WRONG_KEYS)
async def test_a_key_that_does_not_suit_verifies_nothing(
    provider: Provider, providers: oidc.Providers, name: str
) -> None:
    token = provider.id_token()
    (key,) = [k for k in provider.published("keys")["keys"] if k["kid"] == "first-RS256"]
    provider.can(keys={"body": json.dumps({"keys": WRONG_KEYS[name](key)})})
    await refused(providers, token, now=issued(token))


async def test_a_key_that_nobody_can_use_does_not_spoil_the_others(
    provider: Provider, providers: oidc.Providers
) -> None:
    token = provider.id_token()
    odd: list[Any] = [None, {}, {"kty": "oct", "kid": "first-RS256"}, {"kty": ["RSA"], "kid": "x"}]
    odd += [{"kty": "RSA"}, {"kty": "RSA", "kid": 5}]
    known = provider.published("keys")["keys"]
    provider.can(keys={"body": json.dumps({"keys": [*odd, *known]})})
    await accepted(providers, token, now=issued(token))


# TLS.


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody else has signed, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "provider.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, *form) + made.public_bytes(pem))
    return path


async def test_https_needs_a_certificate_that_is_trusted(
    command: list[str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(command, certificate) as provider:
        providers = oidc.Providers([oidc.Issuer(provider.issuer, US)])
        token = provider.id_token()
        now = issued(token)
        await unavailable(providers, token, now=now)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await accepted(providers, token, now=now + oidc.COOLDOWN)


async def test_keys_of_an_https_issuer_come_over_https(
    command: list[str], certificate: Path, other: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    other.tell("count")
    with running(command, certificate) as secured:
        providers = oidc.Providers([oidc.Issuer(secured.issuer, US)])
        token = secured.id_token()
        secured.can(about=about(secured, jwks_uri=f"{other.issuer}/jwks"))
        await unavailable(providers, token, now=issued(token))
        assert other.asked_for_keys() == 0


async def test_what_is_in_the_clear_passes_no_proxy(
    provider: Provider, providers: oidc.Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = provider.id_token()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    await accepted(providers, token, now=issued(token))


# The setting.


def test_issuers_and_our_names_there_are_read() -> None:
    setting = (
        "https://a.example  one,https://b.example/ two , http://localhost:3000/realm one,"
        "http://127.0.0.1:1 x, http://[::1]:1 y,"
    )
    assert oidc.parse_issuers(setting) == (
        oidc.Issuer("https://a.example", "one"),
        oidc.Issuer("https://b.example/", "two"),
        oidc.Issuer("http://localhost:3000/realm", "one"),
        oidc.Issuer("http://127.0.0.1:1", "x"),
        oidc.Issuer("http://[::1]:1", "y"),
    )
    assert oidc.parse_issuers("") == oidc.parse_issuers(" , ") == ()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("http://issuer.example id", "plain http"),
        ("http://10.0.0.1 id", "plain http"),
        ("http://localhost.example id", "plain http"),
        ("http://127.0.0.1.example id", "plain http"),
        ("http://127.0.0.1@issuer.example id", "credentials"),
        ("https://mia:secret@issuer.example id", "credentials"),
        ("https://issuer.example", "client id"),
        ("https://issuer.example one two", "client id"),
        ("id https://issuer.example", "write an address"),
        ("issuer.example id", "write an address"),
        ("ftp://issuer.example id", "write an address"),
        ("file:///etc/passwd id", "write an address"),
        ("https:// id", "write an address"),
        ("https://[::1 id", "write an address"),
        ("https://issuer.example:x id", "write an address"),
        ("https://issuer.example:0 id", "write an address"),
        ("https://issuér.example id", "write an address"),
        ("https://issuer.example?a=b id", "no query"),
        ("https://issuer.example? id", "no query"),
        ("https://issuer.example#a id", "no query"),
        ("https://a.example one, https://a.example two", "stands here once"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(setting: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        oidc.parse_issuers(setting)


# Through HTTP: whoever signs in at the provider signs in here.

PAYLOAD = """{ token session { id authenticatedAt user { id isGuest } }
  userErrors { code path } }"""
CREATE = f"mutation($i: CreateSessionInput!) {{ createSession(input: $i) {PAYLOAD} }}"
LINK = f"""mutation($t: String!, $o: Boolean! = true) {{
  linkIdentity(idToken: {{token: $t}}, revokeOthers: $o) {PAYLOAD} }}"""
UNLINK = f"mutation($id: ID!) {{ unlinkIdentity(id: $id) {PAYLOAD} }}"
AGAIN = f"""mutation($t: String!) {{
  reauthenticate(credentials: {{idToken: {{token: $t}}}}) {PAYLOAD} }}"""
IDENTITIES = "{ viewer { id isGuest identities { id issuer } } }"


@pytest.fixture
async def web(start_app: Any, provider: Provider) -> Any:
    """A client of an application that trusts the provider."""
    return await start_app(OIDC_ISSUERS=f"{provider.issuer} {US}")


async def signed_in_at(provider: Provider, web: Any, subject: str = "mia", **more: Any) -> str:
    """An ID token with a nonce of ours."""
    made = await web.data("mutation { createLoginNonce { nonce expiresAt } }")
    nonce = made["createLoginNonce"]["nonce"]
    return await asyncio.to_thread(provider.id_token, subject=subject, nonce=nonce, **more)


async def create(web: Any, token: str, **more: Any) -> Any:
    """CreateSession's payload for an ID token."""
    given = {"credentials": {"idToken": {"token": token}}} | more
    return (await web.data(CREATE, i=given))["createSession"]


def declined(payload: Any, code: str, *path: str) -> None:
    assert payload["token"] is None
    (error,) = payload["userErrors"]
    assert (error["code"], error["path"]) == (code, list(path))


async def test_the_first_sign_in_makes_the_account_and_later_ones_find_it(
    provider: Provider, web: Any
) -> None:
    first = await create(web, await signed_in_at(provider, web))
    again = await create(web, await signed_in_at(provider, web))
    somebody = await create(web, await signed_in_at(provider, web, "leo"))
    assert first["session"]["user"] == again["session"]["user"]
    assert first["session"]["user"]["isGuest"] is False
    assert somebody["session"]["user"]["id"] != first["session"]["user"]["id"]
    seen = (await web.data(IDENTITIES, token=first["token"]))["viewer"]
    assert [identity["issuer"] for identity in seen["identities"]] == [provider.issuer]


async def test_first_sign_ins_at_once_make_one_account(
    provider: Provider, web: Any, db: Any
) -> None:
    tokens_made = [await signed_in_at(provider, web) for _ in range(3)]
    made = await asyncio.gather(*(create(web, token) for token in tokens_made))
    assert all(payload["token"] for payload in made)
    assert len({payload["session"]["user"]["id"] for payload in made}) == 1
    assert await db.fetchval("SELECT count(*) FROM users") == 1


async def test_a_nonce_is_ours_and_good_once_and_for_minutes(
    provider: Provider, web: Any, db: Any
) -> None:
    token = await signed_in_at(provider, web)
    assert (await create(web, token))["token"]
    declined(await create(web, token), "INVALID_CREDENTIALS", "input", "credentials")
    stranger = await asyncio.to_thread(provider.id_token, nonce="of-somebody-else")
    declined(await create(web, stranger), "INVALID_CREDENTIALS", "input", "credentials")
    late = await signed_in_at(provider, web)
    await db.execute("UPDATE login_nonces SET expires_at = now() - interval '1 s'")
    declined(await create(web, late), "INVALID_CREDENTIALS", "input", "credentials")
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 1


async def test_a_retry_under_the_same_key_finds_the_session(provider: Provider, web: Any) -> None:
    token, key = await signed_in_at(provider, web), "k3y-Wx7pQ2mN8vB4cD6fG1hJ"
    first = await create(web, token, idempotencyKey=key)
    again = await create(web, token, idempotencyKey=key)
    assert again["session"]["id"] == first["session"]["id"]
    declined(await create(web, token), "INVALID_CREDENTIALS", "input", "credentials")


async def test_the_time_of_the_proof_is_the_providers(provider: Provider, web: Any) -> None:
    token = await signed_in_at(provider, web)
    created = await create(web, token)
    told = datetime.fromisoformat(created["session"]["authenticatedAt"])
    assert told == datetime.fromtimestamp(claims_of(token)["auth_time"], UTC)


async def test_a_provider_that_does_not_know_when_proves_nothing_fresh(
    provider: Provider, web: Any
) -> None:
    """0 is a time, and no absent one."""
    forge = Forge(await signed_in_at(provider, web), provider.keys)
    created = await create(web, forge.with_claims(auth_time=0))
    assert datetime.fromisoformat(created["session"]["authenticatedAt"]).timestamp() == 0


async def test_a_nonce_that_ends_while_an_identity_waits_to_be_linked_is_late(
    provider: Provider, web: Any, db: Any, until_waiting: Any
) -> None:
    guest, token = await web.guest(), await signed_in_at(provider, web)
    async with db.transaction():
        await db.execute("SELECT FROM users FOR UPDATE")
        linking = asyncio.ensure_future(web.data(LINK, token=guest.token, t=token))
        await until_waiting(linking)
        await db.execute("UPDATE login_nonces SET expires_at = now() - interval '1 s'")
    declined((await linking)["linkIdentity"], "INVALID_CREDENTIALS", "idToken")
    assert await db.fetchval("SELECT count(*) FROM identities") == 0


async def test_a_guest_who_links_an_identity_is_an_account(provider: Provider, web: Any) -> None:
    guest = await web.guest()
    planted = await web.device(guest)
    token = await signed_in_at(provider, web)
    linked = (await web.data(LINK, token=guest.token, t=token))["linkIdentity"]
    assert linked["userErrors"] == []
    assert linked["session"]["user"] == {"id": guest.user_id, "isGuest": False}
    for dead, why in ((guest, "SUPERSEDED"), (planted, "CREDENTIAL_CHANGED")):
        told = (await web.gql(IDENTITIES, token=dead.token)).json()["errors"][0]["extensions"]
        assert told["revokedReason"] == why
    back = await create(web, await signed_in_at(provider, web))
    assert back["session"]["user"]["id"] == guest.user_id


async def test_an_identity_is_one_users(provider: Provider, web: Any) -> None:
    owner = await create(web, await signed_in_at(provider, web))
    guest = await web.guest()
    for token in (guest.token, owner["token"]):
        proof = await signed_in_at(provider, web)
        linked = (await web.data(LINK, token=token, t=proof))["linkIdentity"]
        declined(linked, "IDENTITY_TAKEN", "idToken")
    seen = (await web.data(IDENTITIES, token=guest.token))["viewer"]
    assert (seen["isGuest"], seen["identities"]) == (True, [])


async def test_the_last_way_to_sign_in_cannot_be_unlinked(provider: Provider, web: Any) -> None:
    created = await create(web, await signed_in_at(provider, web))
    own = (await web.data(IDENTITIES, token=created["token"]))["viewer"]["identities"][0]["id"]
    unlinked = (await web.data(UNLINK, token=created["token"], id=own))["unlinkIdentity"]
    declined(unlinked, "LAST_CREDENTIAL", "id")
    senseless = (await web.data(UNLINK, token=created["token"], id="x"))["unlinkIdentity"]
    declined(senseless, "NOT_FOUND", "id")
    other = await signed_in_at(provider, web, "mia-at-work")
    linked = (await web.data(LINK, token=created["token"], t=other))["linkIdentity"]
    unlinked = (await web.data(UNLINK, token=linked["token"], id=own))["unlinkIdentity"]
    assert unlinked["userErrors"] == []
    assert len((await web.data(IDENTITIES, token=unlinked["token"]))["viewer"]["identities"]) == 1
    stranger = await create(web, await signed_in_at(provider, web))
    assert stranger["session"]["user"]["id"] != created["session"]["user"]["id"]


async def test_an_identity_of_an_issuer_that_was_configured_once_is_no_way_in(
    provider: Provider, web: Any, db: Any
) -> None:
    created = await create(web, await signed_in_at(provider, web))
    own = (await web.data(IDENTITIES, token=created["token"]))["viewer"]["identities"][0]["id"]
    await db.execute(
        """INSERT INTO identities (issuer, subject, id, user_id)
           SELECT 'https://once.example', 'mia', gen_random_uuid(), user_id FROM identities"""
    )
    unlinked = (await web.data(UNLINK, token=created["token"], id=own))["unlinkIdentity"]
    declined(unlinked, "LAST_CREDENTIAL", "id")


async def test_an_id_token_of_ones_own_is_a_fresh_proof(
    provider: Provider, web: Any, db: Any
) -> None:
    created = await create(web, await signed_in_at(provider, web))
    await db.execute("UPDATE user_sessions SET authenticated_at = now() - interval '1 h'")
    another = await signed_in_at(provider, web, "leo")
    refused_proof = (await web.data(AGAIN, token=created["token"], t=another))["reauthenticate"]
    declined(refused_proof, "INVALID_CREDENTIALS", "credentials")
    own = await signed_in_at(provider, web)
    proven = (await web.data(AGAIN, token=created["token"], t=own))["reauthenticate"]
    assert proven["userErrors"] == []
    spent = (await web.data(AGAIN, token=proven["token"], t=own))["reauthenticate"]
    declined(spent, "INVALID_CREDENTIALS", "credentials")


async def test_where_the_providers_keys_cannot_be_had_nobody_can_say(
    provider: Provider, web: Any, away: Callable[[], None]
) -> None:
    token = await signed_in_at(provider, web)
    away()
    response = await web.gql(CREATE, i={"credentials": {"idToken": {"token": token}}})
    assert response.status_code == 503
    assert response.json()["errors"][0]["extensions"]["code"] == "SESSION_STORE_UNAVAILABLE"


async def test_without_a_provider_every_token_is_refused(provider: Provider, client: Any) -> None:
    token = await asyncio.to_thread(provider.id_token)
    declined(await create(client, token), "INVALID_CREDENTIALS", "input", "credentials")
