"""What strangers send: bodies, documents and raw bytes that no client would. All get 4xx."""

import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from app import create_app

MakeSettings = Callable[..., Any]
ServeApp = Callable[..., str]

GRAPHQL = "application/graphql-response+json; charset=utf-8"
LONG = "x" * 1_000_000
DEEP = "[" * 100_000


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error of a request that was refused with a GraphQL JSON body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == GRAPHQL
    body = response.json()
    assert set(body) == {"errors"}
    error: dict[str, Any] = body["errors"][0]
    assert error["message"]
    assert error["extensions"]["code"] == code
    assert error["extensions"]["hint"]
    assert len(error["message"]) <= 301
    assert "Traceback" not in response.text
    return error


async def post(client: Any, content: bytes) -> Any:
    return await client.http.post(
        "/graphql", content=content, headers={"Content-Type": "application/json"}
    )


# Bodies.


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"5", 422),
        (b"null", 422),
        (b'"x"', 422),
        (b"[]", 422),
        (b'[{"query":"{ __typename }"}]', 422),
        (b"\xff\xfe{}", 400),
        (b'{"query":"\xc3\x28"}', 400),
        (b'\xef\xbb\xbf{"query":"{ __typename }"}', 400),
        ('{"query":"{ __typename }"}'.encode("utf-16"), 400),
        (b"[" * 60_000, 400),
        (b'{"query":' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
        (b'{"deep":' + b"[" * 500 + b"1" + b"]" * 500 + b"}", 400),
        (b'{"less":' + b"[" * 499 + b"1" + b"]" * 499 + b"}", 422),
        (b'{"query":[' + b"[]," * 600 + b"[]]}", 422),
        (b'{"query":"{ __typename }","variables":{"a":NaN}}', 400),
        (b'{"query":"{ __typename }","variables":{"a":1e400}}', 400),
        (b'{"query":"{ __typename }","variables":{"a":' + b"9" * 10_000 + b"}}", 400),
        (b'{"query":"{ __typename }","query":"{ viewer { id } }"}', 400),
        (b'{"query":"{ __typename }","variables":[]}', 422),
        (b'{"query":5}', 422),
        (b'{"query":"{ __typename }","operationName":{}}', 422),
        (b"\x00", 400),
    ],
    ids=lambda value: repr(value[:50]) if isinstance(value, bytes) else None,
)
async def test_a_body_that_is_no_request_is_4xx(client: Any, body: bytes, status: int) -> None:
    refused(await post(client, body), status, "BAD_REQUEST")


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1_000_000])
async def test_a_body_over_the_limit_is_413(client: Any, size: int) -> None:
    response = await post(client, b'{"query":"{ __typename } #' + b"x" * size + b'"}')
    refused(response, 413, "BAD_REQUEST")
    assert response.headers["connection"] == "close"


async def test_100_000_nested_brackets_are_refused(client: Any) -> None:
    refused(await post(client, DEEP.encode()), 413, "BAD_REQUEST")


async def test_a_body_of_the_limits_size_is_read(client: Any) -> None:
    body = b'{"query":"{ __typename }","pad":"'
    body += b"x" * (64 * 1024 - len(body) - 2) + b'"}'
    assert (await post(client, body)).json() == {"data": {"__typename": "Query"}}


# Characters.

NUL, LONE = "\\u0000", "\\ud800"
BY_LITERAL = r'{"query":"mutation { createSession(input: {label: \"a%sb\"}) { token } }"}'
BY_VARIABLE = (
    '{"query":"mutation($l: String) { createSession(input: {label: $l}) { token } }",'
    '"variables":{"l":"a%sb"}}'
)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (BY_VARIABLE % NUL, 422, "BAD_USER_INPUT"),
        (BY_VARIABLE % LONE, 422, "BAD_USER_INPUT"),
        (BY_VARIABLE.replace('"l":"a%sb"', f'"{NUL}":1'), 422, "BAD_USER_INPUT"),
        (BY_LITERAL % "\\\\u0000", 422, "BAD_USER_INPUT"),
        (BY_LITERAL % "\\\\ud800", 400, "GRAPHQL_PARSE_FAILED"),
        (BY_LITERAL % NUL, 422, "BAD_USER_INPUT"),
        (BY_LITERAL % LONE, 400, "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_nul_and_lone_surrogates_are_refused_and_change_nothing(
    client: Any, db: Any, body: str, status: int, code: str
) -> None:
    refused(await post(client, body.encode()), status, code)
    assert await db.fetchval("SELECT count(*) FROM users") == 0


async def test_a_pair_of_surrogates_is_a_character(client: Any) -> None:
    body = BY_VARIABLE.replace("token", "session { label }") % "\\ud83e\\udda6"
    created = (await post(client, body.encode())).json()["data"]["createSession"]
    assert created["session"]["label"] == "a\N{OTTER}b"


@pytest.mark.parametrize("name", ["nobody\\u0000", "\\ud800"])
async def test_an_operation_of_a_senseless_name_is_422(client: Any, name: str) -> None:
    body = '{"query":"query A { __typename }","operationName":"' + name + '"}'
    refused(await post(client, body.encode()), 422, "BAD_USER_INPUT")


# Documents.


def nested(depth: int) -> str:
    """The schema's own description asked for so deep."""
    return "{ __schema { types { " + "fields { type { " * depth + "name" + " } }" * depth + " } } }"


def chain(length: int) -> str:
    """Fragments of which each spreads the next one twice: 2^length fields."""
    links = [f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(length)]
    return "\n".join(["{ ...f0 }", *links, f"fragment f{length} on Query {{ __typename }}"])


TOO_COMPLEX: dict[str, str] = {
    "depth": nested(12),
    "aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(31)) + " }",
    "root fields": "{ " + "__typename " * 21 + "}",
    "tokens": "{ " + "viewer { id } " * 300 + "}",
    "fields": "{ viewer { " + "id " * 300 + "} }",
    "fields of one name": "{ currentSession { " + "id " * 60 + "} }",
    "directives": "{ __typename " + "@include(if: true) " * 31 + "}",
    "fragments": "{ __typename ...f0 }"
    + "".join(f" fragment f{n} on Query {{ __typename }}" for n in range(31)),
    "operations": " ".join(f"query q{n} {{ __typename }}" for n in range(11)),
    "spreads that unfold to 2^29": chain(29),
    "nesting": "{ a(b: " + "[" * 400 + "]" * 400 + ") }",
    "nested selections": "{ " + "a { " * 300 + "b" + " }" * 301,
    "lists of the schema under aliases": "{ a: __schema { types { name } } }",
    "two sessions at once": "mutation { a: createSession { token } b: createSession { token } }",
    "two sessions by fragments": (
        "mutation { ...f ...g }"
        " fragment f on Mutation { a: createSession { token } }"
        " fragment g on Mutation { b: createSession { token } }"
    ),
}


@pytest.mark.parametrize("name", TOO_COMPLEX)
async def test_a_document_over_a_limit_is_422_before_anything_runs(
    client: Any, statements: list[str], name: str
) -> None:
    response = await client.gql(TOO_COMPLEX[name])
    refused(response, 422, "QUERY_TOO_COMPLEX")
    assert statements == []


@pytest.mark.parametrize(
    "query",
    [
        "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "{ ...a } fragment a on Query { ...a }",
    ],
)
async def test_fragments_in_a_circle_are_422(client: Any, query: str) -> None:
    refused(await client.gql(query), 422, "GRAPHQL_VALIDATION_FAILED")


async def test_what_was_sent_is_not_quoted_at_length(client: Any) -> None:
    refused(await client.gql(f"{{ {LONG[:5_000]} }}"), 422, "GRAPHQL_VALIDATION_FAILED")
    query = "query($a: Boolean!) { __typename @include(if: $a) }"
    refused(await client.gql(query, a=LONG[:5_000]), 422, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    "query",
    [
        *TOO_COMPLEX.values(),
        # What graphql-core's own budget for comparing fields lets run for seconds.
        "{ " + " ".join(f"viewer {{ a{n}: id }}" for n in range(30)) + " }",
        "{ " + " ".join(["viewer { id username isGuest createdAt }"] * 19) + " }",
        "query(" + " ".join(f"$v{n}: Int" for n in range(200)) + ") { __typename }",
        '{ a(b: """' + '\\"""' * 4_000 + '""") }',
        "{ a(b: " + "9" * 60_000 + ") }",
        "#" * 60_000 + "\n{ __typename }",
        "," * 60_000 + "{ __typename }",
        "{ __typename ...on Query " + "{ ...on Query " * 15 + "{ __typename }" + " }" * 16,
    ],
    ids=lambda query: query[:30],
)
async def test_a_hostile_document_is_answered_by_graphql_and_costs_no_statement(
    client: Any, statements: list[str], query: str
) -> None:
    response = await client.gql(query)
    assert response.status_code in {200, 400, 422}, response.text
    assert response.headers["content-type"] == GRAPHQL
    assert statements == []


# Credentials.


@pytest.mark.parametrize(
    "value", [f"Bearer {'a' * 3_000}.{'b' * 3_000}.c", "Bearer " + "." * 5_000]
)
async def test_a_long_token_is_401(client: Any, value: str) -> None:
    response = await client.http.post("/graphql", headers={"Authorization": value})
    error = refused(response, 401, "UNAUTHENTICATED")
    assert error["extensions"]["reason"] == "TOKEN_INVALID"


@pytest.mark.parametrize("path", ["/graphql", "/session/validate"])
async def test_headers_and_targets_without_end_are_refused(client: Any, path: str) -> None:
    headers = {"Authorization": f"Bearer {LONG}"}
    assert (await client.http.get(path, headers=headers)).status_code == 431
    many = [(f"X-{n}", "x") for n in range(101)]
    assert (await client.http.get(path, headers=many)).status_code == 431
    long = await client.http.get(f"{path}?query={'x' * 9_000}")
    assert (long.status_code, long.json()["errors"][0]["extensions"]["code"]) == (
        414,
        "BAD_REQUEST",
    )


# Raw bytes, through the real HTTP server.


Talk = Callable[[bytes], tuple[int, bytes]]


@pytest.fixture
def application(make_settings: MakeSettings) -> Starlette:
    return create_app(make_settings())


@pytest.fixture
def talk(application: Starlette, serve_app: ServeApp) -> Talk:
    """Sends bytes; the status and all that came back until the server closed."""
    host, port = serve_app(application).removeprefix("http://").split(":")

    def send(data: bytes) -> tuple[int, bytes]:
        with socket.create_connection((host, int(port)), timeout=30) as peer:
            peer.sendall(data)
            answer = b""
            while more := peer.recv(65536):
                answer += more
        assert answer.startswith(b"HTTP/1.1 "), answer
        return int(answer[9:12]), answer

    return send


def request(*headers: str, body: bytes = b"", line: str = "POST /graphql HTTP/1.1") -> bytes:
    """A request that ends the connection."""
    lines = [line, "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


BODY = json.dumps({"query": "{ __typename }"}).encode()
KIND = "Content-Type: application/json"
LENGTH = f"Content-Length: {len(BODY)}"


def test_a_plain_request_by_hand_is_answered(talk: Talk) -> None:
    status, answer = talk(request("Host: localhost", KIND, LENGTH, body=BODY))
    assert status == 200
    assert answer.endswith(b'{"data":{"__typename":"Query"}}')
    assert b"\r\nserver:" not in answer.lower()


@pytest.mark.parametrize(
    "headers",
    [
        (KIND, LENGTH),
        ("Host: a", "Host: b", KIND, LENGTH),
        ("Host: a b", KIND, LENGTH),
        ("Host: a/b", KIND, LENGTH),
        ("Host: a@b", KIND, LENGTH),
        ("Host: ", KIND, LENGTH),
        ("Host: localhost", KIND, "Transfer-Encoding: gzip, chunked"),
        ("Host: localhost", KIND, "Transfer-Encoding: xchunked"),
        ("Host: localhost", KIND, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Host: localhost", KIND, LENGTH, "Content-Length: 5"),
        ("Host: localhost", KIND, "Content-Length: -1"),
        ("Host: localhost", KIND, "Content-Length: +29"),
        ("Host: localhost", KIND, LENGTH, "X: a\x00b"),
        ("Host: localhost", KIND, LENGTH, "X : a"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused_and_closed(
    talk: Talk, headers: tuple[str, ...]
) -> None:
    status, answer = talk(request(*headers, body=BODY))
    assert status in {400, 501}
    assert b"connection: close" in answer.lower()


def test_a_body_whose_end_is_told_twice_is_refused_and_closed(talk: Talk) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    status, answer = talk(
        request("Host: localhost", KIND, LENGTH, "Transfer-Encoding: chunked", body=chunked)
    )
    assert status == 400
    assert b"connection: close" in answer.lower()
    assert b"Content-Length and Transfer-Encoding" in answer


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "xchunked", "chunked, chunked"])
def test_a_coding_that_is_not_chunked_is_refused_and_closed(talk: Talk, coding: str) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    head = ("Host: localhost", KIND, f"Transfer-Encoding: {coding}")
    status, answer = talk(request(*head, body=chunked))
    assert status == 400
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["extensions"]["hint"]


def test_what_is_no_http_is_refused_in_the_form_of_every_refusal(talk: Talk) -> None:
    for nothing in (b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n"):
        status, answer = talk(nothing)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status == 400
        assert b"x-content-type-options: nosniff" in head.lower()
        assert json.loads(body)["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


def without_end(host: str, port: str, beginning: bytes) -> bytes:
    """What comes back to who goes on and on with a field, a part at a time."""
    answer = b""
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        peer.sendall(beginning)
        with contextlib.suppress(OSError):
            for _ in range(64):
                peer.sendall(b"x" * 4096)
                time.sleep(0.01)  # or it would be one part
        with contextlib.suppress(OSError):
            while more := peer.recv(65536):
                answer += more
    return answer


def test_a_head_without_end_is_cut(application: Starlette, serve_app: ServeApp) -> None:
    """One header that goes on and on, a part at a time, is nobody's to keep in memory."""
    host, port = serve_app(application).removeprefix("http://").split(":")
    answer = without_end(host, port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")
    assert application_is_fine(host, int(port))


def test_trailers_without_end_are_cut(application: Starlette, serve_app: ServeApp) -> None:
    """What stands behind a body goes to nobody, and is nobody's to keep in memory either."""
    host, port = serve_app(application).removeprefix("http://").split(":")
    head = request("Host: localhost", KIND, "Transfer-Encoding: chunked")
    answer = without_end(host, port, head + b"2\r\n{}\r\n0\r\nX: ")
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")
    assert application_is_fine(host, int(port))


def test_a_field_behind_the_body_is_no_header(talk: Talk) -> None:
    """RFC 9110 6.5.1; a proxy in front, which looks at headers, would not have seen it."""
    chunked = b"%x\r\n%b\r\n0\r\nAuthorization: Bearer no.good.token\r\n\r\n" % (len(BODY), BODY)
    head = ("Host: localhost", KIND, "Transfer-Encoding: chunked")
    status, answer = talk(request(*head, body=chunked))
    assert status == 200
    assert b'{"data":{"__typename":"Query"}}' in answer


def test_a_failure_between_head_and_body_of_an_answer_is_a_500(
    serve_app: Callable[..., str],
) -> None:
    """Of the head nothing was written: with it and no body, the next answer would be the body."""

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] == "http":
            headers = [(b"content-length", b"5")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            raise ValueError

    host, port = serve_app(fails).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        peer.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        answer = b""
        while more := peer.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(b"Internal Server Error")


def application_is_fine(host: str, port: int) -> bool:
    """Whether others are served."""
    with socket.create_connection((host, port), timeout=30) as peer:
        peer.sendall(request("Host: localhost", line="GET /healthz HTTP/1.1"))
        return peer.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("line", "header", "status"),
    [
        ("POST /graphql HTTP/1.1", "Authorization: Bearer no.good.token", 401),
        ("POST /graphql HTTP/1.1", "Content-Type: text/plain", 415),
        ("PUT /graphql HTTP/1.1", KIND, 405),
        ("POST /session HTTP/1.1", "Sec-Fetch-Site: cross-site", 403),
        ("GET /session/validate HTTP/1.1", KIND, 401),
        ("GET /healthz HTTP/1.1", KIND, 200),
        ("GET /nothing HTTP/1.1", KIND, 404),
    ],
)
def test_a_body_that_nobody_reads_ends_the_connection(
    talk: Talk, line: str, header: str, status: int
) -> None:
    """Whoever sends without end would be listened to without end."""
    for framing in ("Transfer-Encoding: chunked", "Content-Length: 50"):
        began = request("Host: localhost", framing, header, body=b"5\r\nhello\r\n", line=line)
        seen, answer = talk(began.replace(b"Connection: close\r\n", b""))
        assert seen == status
        assert b"\r\nconnection: close\r\n" in answer.lower()


def test_a_body_that_was_read_leaves_the_connection_open(talk: Talk) -> None:
    last = request("Host: localhost", KIND, LENGTH, body=BODY)
    _, answer = talk(last.replace(b"Connection: close\r\n", b"") + last)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.lower().count(b"connection: close") == 1


def test_100_mb_that_are_only_declared_are_refused_unread(talk: Talk) -> None:
    began = request("Host: localhost", KIND, "Content-Length: 100000000", body=BODY)
    status, answer = talk(began.replace(b"Connection: close", b"Connection: keep-alive"))
    assert status == 413
    assert b"connection: close" in answer.lower()


def test_a_body_that_breaks_off_harms_nobody(application: Starlette, serve_app: ServeApp) -> None:
    host, port = serve_app(application).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        peer.sendall(request("Host: localhost", KIND, LENGTH, body=BODY[:5]))
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        peer.sendall(request("Host: localhost", KIND, LENGTH, body=BODY))
        assert peer.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("TRACE /graphql HTTP/1.1", 405),
        ("BREW /session HTTP/1.1", 405),
        ("GET /nothing HTTP/1.1", 404),
        ("GET /graphql/ HTTP/1.1", 404),
        ("GET /session/ HTTP/1.1", 404),
        ("GET //graphql HTTP/1.1", 404),
        ("GET /healthz/.. HTTP/1.1", 404),
        ("POST /healthz HTTP/1.1", 405),
        ("GET http://elsewhere/healthz HTTP/1.1", 404),
    ],
)
def test_the_path_alone_decides_and_nothing_redirects(talk: Talk, line: str, status: int) -> None:
    seen, answer = talk(request("Host: localhost", line=line))
    assert seen == status
    assert b"\r\nlocation:" not in answer.lower()
    assert answer.partition(b"\r\n\r\n")[2].startswith(b'{"errors":[')


def test_a_slow_body_is_cut(
    application: Starlette, serve_app: ServeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 20 s; here at one."""
    monkeypatch.setattr("web.graphql.BODY_TIMEOUT", 1)
    host, port = serve_app(application).removeprefix("http://").split(":")
    head = request("Host: localhost", KIND, LENGTH).replace(b"close", b"keep-alive")
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        peer.sendall(head + BODY[:5])
        answer = b""
        while more := peer.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"hint":"' in answer
    assert b"connection: close" in answer.lower()
