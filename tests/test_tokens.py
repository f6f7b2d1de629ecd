"""Tokens: one key, one algorithm, one spelling. Whatever else is sent is refused alike.

Tokens are written and signed by hand here, with the server's own secret where a forger could not
have it: so a test shows that the one thing that it changes is what is refused.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

ME = "{ viewer { id } }"
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CLAIMS = ["iss", "aud", "client_id", "sub", "sid", "jti", "iat", "nbf", "exp"]
TIMES = ["iat", "nbf", "exp"]
IDS = ["sub", "sid", "jti"]

Json = dict[str, Any]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def as_bytes(part: Json | bytes) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


class Forge:
    """A good token, and the hand that signs changed ones with the server's secret."""

    def __init__(self, token: str, secret: str) -> None:
        self.token = token
        self.secret = secret.encode()
        self.header, self.claims = (json.loads(decoded(part)) for part in token.split(".")[:2])

    def sign(self, header: Json | bytes, claims: Json | bytes, hashed: str = "HS256") -> str:
        """A token of these parts, whatever they are."""
        signed = f"{encoded(as_bytes(header))}.{encoded(as_bytes(claims))}"
        return f"{signed}.{self.signature(signed, hashed)}"

    def signature(self, signed: str, hashed: str = "HS256") -> str:
        """The segment that signs the text before it."""
        return encoded(hmac.new(self.secret, signed.encode(), HASHES[hashed]).digest())

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
async def forge(client: Any, make_settings: Any) -> Forge:
    """The token of a guest of this server."""
    guest = await client.guest()
    return Forge(guest.token, make_settings().JWT_SECRET.get_secret_value())


async def send(client: Any, token: str | bytes) -> tuple[int, bytes, dict[str, str]]:
    """All that an answer to a token tells, the request's id aside."""
    value = token if isinstance(token, bytes) else token.encode()
    response = await client.http.post(
        "/graphql", json={"query": ME}, headers=[(b"Authorization", b"Bearer " + value)]
    )
    headers = {k: v for k, v in response.headers.items() if k != "x-request-id"}
    return response.status_code, response.content, headers


async def assert_refused(client: Any, *tokens: str) -> None:
    """Each is answered exactly as a text that never was a token: 401, and no oracle."""
    answer = await send(client, "x.y.z")
    assert answer[0] == 401
    assert b'"reason":"TOKEN_INVALID"' in answer[1]
    assert 'error="invalid_token"' in answer[2]["www-authenticate"]
    for token in tokens:
        assert await send(client, token) == answer, token


async def assert_accepted(client: Any, token: str) -> None:
    status, body, _ = await send(client, token)
    assert (status, b'"errors"' in body) == (200, False), body


async def test_a_token_written_by_hand_as_we_write_it_is_good(client: Any, forge: Forge) -> None:
    await assert_accepted(client, forge.token)
    await assert_accepted(client, forge.sign(forge.header, forge.claims))


# The signature and its key


async def test_none_and_other_spellings_are_no_algorithm(client: Any, forge: Forge) -> None:
    for alg in ("none", "None", "NONE", "nOnE", "none ", "", "hs256", "HS256 "):
        signed = forge.with_header(alg=alg)
        await assert_refused(client, signed, signed.rpartition(".")[0] + ".")


@pytest.mark.parametrize("alg", ["HS384", "HS512"])
async def test_another_hash_with_the_same_key_is_refused(
    client: Any, forge: Forge, alg: str
) -> None:
    relabelled = {**forge.header, "alg": alg}
    await assert_refused(
        client,
        forge.sign(relabelled, forge.claims, alg),
        forge.sign(relabelled, forge.claims),
        forge.sign(forge.header, forge.claims, alg),
    )


async def test_only_hs256_is_an_algorithm(client: Any, forge: Forge) -> None:
    wrong = ["RS256", "ES256", "EdDSA", 256, None, True, ["HS256"], {}, ...]
    await assert_refused(client, *(forge.with_header(alg=alg) for alg in wrong))


async def test_a_signature_is_needed_and_must_be_this_tokens(client: Any, forge: Forge) -> None:
    header, claims, signature = forge.token.split(".")
    other = forge.with_claims(jti=str(uuid4())).split(".")
    await assert_refused(
        client,
        f"{header}.{claims}.",
        f"{header}.{claims}",
        f"{header}.{claims}.{other[2]}",
        f"{header}.{other[1]}.{signature}",
        f"{claims}.{header}.{signature}",
        f"{claims}.{header}.{forge.signature(f'{claims}.{header}')}",
        f"{header}.{signature}.{claims}",
        f"{header}.{claims}.{signature[:-4]}",
        f"{header}.{claims}.{signature}AAAA",
        f"{header}.{claims}.{'A' * len(signature)}",
    )


async def test_another_secret_signs_nothing_here(client: Any, forge: Forge) -> None:
    for secret in ("", "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXp", forge.header["kid"]):
        stranger = Forge(forge.token, secret)
        await assert_refused(client, stranger.sign(forge.header, forge.claims))


async def test_every_change_of_one_character_is_refused(client: Any, forge: Forge) -> None:
    token = forge.token
    mutated = [
        token[:place]
        + ALPHABET[(ALPHABET.find(character) + 1) % len(ALPHABET)]
        + token[place + 1 :]
        for place, character in enumerate(token)
    ]
    assert token not in mutated
    await assert_refused(client, *mutated)


# The header


async def test_a_key_in_the_header_or_behind_its_address_is_no_key(
    client: Any, forge: Forge
) -> None:
    stranger = Forge(forge.token, "qL2vX9sB7tN4wR1zK8mC5pD3hF6jG0yA")
    asked: list[object] = []

    def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    jwk = {"kty": "oct", "k": encoded(stranger.secret), "alg": "HS256", "kid": "theirs"}
    hostile = {"jku": address, "x5u": address, "jwk": jwk, "x5c": [encoded(stranger.secret)]}
    for name, value in hostile.items():
        for kid in (forge.header["kid"], "theirs", address):
            header = {**forge.header, name: value, "kid": kid}
            await assert_refused(client, stranger.sign(header, forge.claims))
        await send(client, forge.with_header(**{name: value}))
    server.close()
    await server.wait_closed()
    assert asked == []


async def test_a_critical_extension_is_refused(client: Any, forge: Forge) -> None:
    wrong = [["exp"], ["b64"], [], "exp", None]
    await assert_refused(client, *(forge.with_header(crit=c, exp=1, b64=True) for c in wrong))


async def test_an_unencoded_payload_is_refused(client: Any, forge: Forge) -> None:
    await assert_refused(client, forge.with_header(b64=False))


async def test_a_kid_that_is_not_in_the_ring_is_refused(client: Any, forge: Forge) -> None:
    absent: list[Any] = [..., None, "", 0, 1.5, True, [], {}]
    unknown = ["unknown", "0" * 16, "0" * 2500, "../../dev/null", "' OR 1=1 --"]
    await assert_refused(client, *(forge.with_header(kid=kid) for kid in absent + unknown))


async def test_a_kid_has_one_spelling(client: Any, forge: Forge) -> None:
    kid = forge.header["kid"]
    await assert_refused(
        client, *(forge.with_header(kid=k) for k in (kid.upper(), f" {kid}", f"{kid}\0", [kid]))
    )


async def test_a_token_of_another_type_is_refused(client: Any, forge: Forge) -> None:
    absent: list[Any] = [..., None, "", 1, ["at+jwt"]]
    other = ["JWT", "jwt", "at", "at+jwt ", "id+jwt", "logout+jwt", "dpop+jwt", "text/at+jwt"]
    twofold = ["application/jwt", "application/application/at+jwt", "application/ at+jwt"]
    tokens = [forge.with_header(typ=typ) for typ in absent + other + twofold]
    await assert_refused(client, *tokens)


async def test_the_type_is_a_media_type_in_any_case(client: Any, forge: Forge) -> None:
    for typ in ("at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "APPLICATION/at+JWT"):
        await assert_accepted(client, forge.with_header(typ=typ))


# The claims


@pytest.mark.parametrize("name", ["iss", "aud"])
async def test_issuer_and_audience_are_compared_exactly(
    client: Any, forge: Forge, name: str
) -> None:
    right = forge.claims[name]
    wrong = ["other", right.upper(), f"{right} ", f"{right}/", "", [right], [right, "other"], {}]
    await assert_refused(client, *(forge.with_claims(**{name: value}) for value in wrong))


@pytest.mark.parametrize("name", CLAIMS)
async def test_every_claim_is_needed(client: Any, forge: Forge, name: str) -> None:
    await assert_refused(
        client, forge.with_claims(**{name: ...}), forge.with_claims(**{name: None})
    )


@pytest.mark.parametrize("name", ["iss", "aud", "client_id", *IDS])
async def test_a_text_claim_is_a_text(client: Any, forge: Forge, name: str) -> None:
    wrong = [1, 1.5, True, [], {}, [forge.claims[name]]]
    await assert_refused(client, *(forge.with_claims(**{name: value}) for value in wrong))


@pytest.mark.parametrize("name", TIMES)
async def test_a_time_is_a_whole_number(client: Any, forge: Forge, name: str) -> None:
    right = forge.claims[name]
    wrong = [
        True,
        str(right),
        float(right),
        right + 0.5,
        -1,
        -right,
        10**18,
        2**63,
        10**400,
        [right],
    ]
    await assert_refused(client, *(forge.with_claims(**{name: value}) for value in wrong))


@pytest.mark.parametrize("name", TIMES)
async def test_a_time_is_no_exotic_number(client: Any, forge: Forge, name: str) -> None:
    for number in ("1e400", "-1e400", "NaN", "Infinity", "1E9", "9" * 1900):
        text = json.dumps({**forge.claims, name: "PLACE"}).replace('"PLACE"', number)
        await assert_refused(client, forge.sign(forge.header, text.encode()))


@pytest.mark.parametrize("name", ["iat", "nbf"])
async def test_another_nodes_clock_may_be_ahead_by_less_than_a_minute(
    client: Any, forge: Forge, db: Any, name: str
) -> None:
    now = int(await db.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
    await assert_accepted(client, forge.with_claims(**{name: now + 59}))
    # Two seconds of a slow machine may pass before the server looks.
    await assert_refused(client, forge.with_claims(**{name: now + 63}))


async def test_the_end_of_a_token_has_no_leeway(client: Any, forge: Forge, db: Any) -> None:
    now = int(await db.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
    for exp in (now, now - 1, now - 59, 0):
        status, body, _ = await send(client, forge.with_claims(exp=exp))
        assert status == 401
        assert json.loads(body)["errors"][0]["extensions"]["reason"] == "TOKEN_EXPIRED"


async def test_an_expired_token_says_so_only_if_it_is_one_of_ours(
    client: Any, forge: Forge
) -> None:
    expired = forge.with_claims(exp=1)
    await assert_refused(
        client,
        expired[:-1] + ("A" if expired[-1] != "A" else "E"),
        forge.sign({**forge.header, "typ": "JWT"}, {**forge.claims, "exp": 1}),
        forge.with_claims(exp=1, aud="other"),
        forge.with_claims(exp=1, sub="nobody"),
        forge.with_claims(exp=1, iat="1"),
    )


SPELLINGS: list[Callable[[str], str]] = [
    lambda text: f"{{{text}}}",
    lambda text: f"urn:uuid:{text}",
    str.upper,
    lambda text: text.replace("-", ""),
    lambda text: text.replace("-", "") + "-",
    lambda text: f"{text} ",
    lambda text: f"{text}\n",
    lambda text: f"{text}\0",
    lambda text: re.sub(r"\d", lambda m: chr(ord(m[0]) + 0xFEE0), text),  # full-width digits
    lambda text: text[:-1],
    lambda text: text[:0],
]


async def test_an_id_has_one_spelling(client: Any, forge: Forge) -> None:
    # Letters and digits in it, so that every spelling differs.
    jti = "0190abcd-ef01-7abc-8def-0123456789ab"
    await assert_accepted(client, forge.with_claims(jti=jti))
    for spell in SPELLINGS:
        own = [forge.with_claims(**{name: spell(forge.claims[name])}) for name in ("sub", "sid")]
        await assert_refused(client, *own, forge.with_claims(jti=spell(jti)))


# The form


async def test_padding_is_refused(client: Any, forge: Forge) -> None:
    header, claims, signature = forge.token.split(".")
    await assert_refused(client, f"{forge.token}=", f"{forge.token}==")
    for spelt in (f"{header}=.{claims}", f"{header}.{claims}=", f"{header}==.{claims}=="):
        await assert_not_admitted(
            client, f"{spelt}.{forge.signature(spelt)}", f"{spelt}.{signature}"
        )


async def test_loose_trailing_bits_are_refused(client: Any, forge: Forge) -> None:
    header, claims, signature = forge.token.split(".")
    # 32 bytes leave two bits of the last character unused.
    last = ALPHABET.index(signature[-1])
    loose = [signature[:-1] + ALPHABET[last + bits] for bits in (1, 2, 3)]
    assert all(decoded(text) == decoded(signature) for text in loose)
    await assert_refused(client, *(f"{header}.{claims}.{text}" for text in loose))


async def test_nothing_stands_between_a_tokens_characters(client: Any, forge: Forge) -> None:
    token = forge.token.encode()
    for blank in (b" ", b"\t", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xc2\xa0", b"\0"):
        await assert_not_admitted(client, token.replace(b".", b"." + blank))
        if blank.strip(b" \t"):  # HTTP itself takes those away around a header's value
            await assert_not_admitted(client, blank + token, token + blank)


async def assert_not_admitted(client: Any, *tokens: str | bytes) -> None:
    """Where the text is no token at all to RFC 6750, 400 says so; never is it let in."""
    for token in tokens:
        assert (await send(client, token))[0] in {400, 401}, token


async def test_header_and_payload_are_plain_utf8(client: Any, forge: Forge) -> None:
    header, claims = as_bytes(forge.header), as_bytes(forge.claims)
    for prefix in (b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80"):
        await assert_refused(
            client, forge.sign(prefix + header, claims), forge.sign(header, prefix + claims)
        )


async def test_another_encoding_of_json_is_refused(client: Any, forge: Forge) -> None:
    header, claims = json.dumps(forge.header), json.dumps(forge.claims)
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        await assert_refused(
            client,
            forge.sign(header.encode(encoding), claims.encode()),
            forge.sign(header.encode(), claims.encode(encoding)),
        )


def twice(members: Json, name: str) -> bytes:
    """The members with one of them standing twice, as it was."""
    return f"{{{json.dumps(name)}: {json.dumps(members[name])}, {json.dumps(members)[1:]}".encode()


async def test_a_header_says_nothing_twice(client: Any, forge: Forge) -> None:
    tokens = [forge.sign(twice(forge.header, name), forge.claims) for name in forge.header]
    await assert_refused(client, *tokens)


async def test_a_payload_says_nothing_twice(client: Any, forge: Forge) -> None:
    tokens = [forge.sign(forge.header, twice(forge.claims, name)) for name in CLAIMS]
    await assert_refused(client, *tokens)


async def test_header_and_payload_are_objects(client: Any, forge: Forge) -> None:
    for part in (b"", b"null", b"5", b'"x"', b"[]", b"{}", b"{", b"{}{}", b"\0"):
        await assert_refused(client, forge.sign(part, forge.claims), forge.sign(forge.header, part))


@pytest.mark.parametrize("part", [b"[", b'{"a":', b"9", b"1."])
async def test_depth_and_length_are_refused_like_anything_else(
    client: Any, forge: Forge, part: bytes
) -> None:
    for size in (1000, 2800, 11_000):
        nested = part * (size // len(part))
        await assert_refused(
            client, forge.sign(nested, forge.claims), forge.sign(forge.header, nested)
        )


async def test_20_000_brackets_end_before_the_door(client: Any, forge: Forge) -> None:
    for part in (b"[" * 20_000, b"9" * 20_000):
        assert (await send(client, forge.sign(forge.header, part)))[0] == 431


async def test_a_token_of_more_than_4_kb_is_refused_although_it_is_signed(
    client: Any, forge: Forge
) -> None:
    await assert_accepted(client, forge.with_claims(more="x" * 2000))
    await assert_refused(client, forge.with_claims(more="x" * 4000))


async def test_only_the_compact_form_is_a_token(client: Any, forge: Forge) -> None:
    header, claims, signature = forge.token.split(".")
    await assert_refused(
        client,
        f"{header}.{claims}.{signature}.",
        f".{forge.token}",
        f"{header}.{claims}.{claims}.{claims}.{signature}",
        f"{header}..{claims}.{claims}.{signature}",
        header,
        "..",
        ".",
    )
    flat = {"protected": header, "payload": claims, "signature": signature}
    general = {"payload": claims, "signatures": [{"protected": header, "signature": signature}]}
    await assert_not_admitted(client, json.dumps(flat), json.dumps(general))


# What is in it


async def test_a_token_names_a_user_and_a_session_and_nothing_of_a_person(
    client: Any, forge: Forge
) -> None:
    me = await client.data(
        "{ viewer { id username } currentSession { id label } }", token=forge.token
    )
    assert set(forge.claims) == set(CLAIMS)
    assert set(forge.header) == {"alg", "typ", "kid"}
    assert forge.claims["sub"] == me["viewer"]["id"]
    assert forge.claims["sid"] == me["currentSession"]["id"]
    for name in (me["viewer"]["username"], me["currentSession"]["label"]):
        assert name not in json.dumps(forge.claims)


async def test_a_token_is_stored_nowhere(client: Any, forge: Forge, db: Any) -> None:
    await client.data("{ mySessions { id } }", token=forge.token)
    tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert {"users", "usernames", "user_sessions"} <= {row["tablename"] for row in tables}
    rows = [
        row["text"]
        for table in tables
        for row in await db.fetch(f'SELECT t::text AS text FROM "{table["tablename"]}" t')
    ]
    stored = "\n".join(rows)
    assert forge.claims["sid"] in stored
    hashed = hashlib.sha256(forge.token.encode())
    for trace in (*forge.token.split("."), forge.claims["jti"], hashed.hexdigest()):
        assert trace not in stored
