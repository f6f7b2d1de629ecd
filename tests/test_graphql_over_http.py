"""GraphQL over HTTP: media types, methods, statuses, and that the door comes before them all.

Most tests need no database: their application has one that nobody answers at.
"""

import json
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from graphql import get_introspection_query
from pydantic import SecretStr

from app import create_app
from settings import Settings

SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"
NOWHERE = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
TYPENAME = b'{"query":"{ __typename }"}'
MUTATION = "mutation { createSession { token } }"


@pytest.fixture(scope="module")
def application() -> Any:
    return create_app(Settings(DATABASE_URL=NOWHERE, JWT_SECRET=SecretStr(SECRET)))


@pytest.fixture
async def http(application: Any) -> Any:
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
        yield http


async def post(http: Any, content: bytes = TYPENAME, **headers: str | None) -> Any:
    """Sends a body; a header that is None is not sent."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"content-type": JSON, "accept": GRAPHQL} | given
    request = http.build_request("POST", "/graphql", content=content)
    for name, value in sent.items():
        request.headers.pop(name, None)
        if value is not None:
            request.headers[name] = value
    return await http.send(request)


async def ask(http: Any, body: object) -> Any:
    return await post(http, json.dumps(body).encode())


def assert_refused(response: Any, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"
    if response.request.method == "HEAD":
        return  # which has no body
    body = response.json()
    assert "data" not in body
    for error in body["errors"]:
        assert error["message"]
        assert error["extensions"]["code"] == code
        assert error["extensions"]["hint"]


# What the body is.


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; profile=anything",
    ],
)
async def test_a_body_of_json_is_read(http: Any, kind: str) -> None:
    response = await post(http, content_type=kind)
    assert response.status_code == 200
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "text/plain, application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        GRAPHQL,
        "application/json; charset=utf-16",
        "application/json; charset=latin1",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset = latin1",
        "application/json; charset\t=latin1",
        "application/json; charset*=latin1''x",
        "application/jsonp",
    ],
)
async def test_a_body_of_any_other_type_is_415(http: Any, kind: str | None) -> None:
    assert_refused(await post(http, content_type=kind), 415, "BAD_REQUEST")


async def test_two_content_types_are_415(http: Any) -> None:
    headers = [("Content-Type", JSON), ("Content-Type", "text/plain")]
    response = await http.post("/graphql", content=TYPENAME, headers=headers)
    assert_refused(response, 415, "BAD_REQUEST")


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br", ""])
async def test_a_body_with_a_content_encoding_is_415(http: Any, encoding: str) -> None:
    assert_refused(await post(http, content_encoding=encoding), 415, "BAD_REQUEST")


# What the answer is.


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, GRAPHQL),
        ("", GRAPHQL),
        ("*/*", GRAPHQL),
        ("application/*", GRAPHQL),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}, {JSON};q=0.9", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8", GRAPHQL),
        (f"text/html, {GRAPHQL.upper()}", GRAPHQL),
        (JSON, JSON),
        (f"{JSON}; charset=utf-8", JSON),
        (f"{JSON}, */*;q=0.1", JSON),
        (f"{JSON}, {GRAPHQL};q=0.5", JSON),
        (f"{GRAPHQL};q=0, */*", JSON),
        (f"{JSON};q=0, */*", GRAPHQL),
        ("text/css, */*;q=0.1", GRAPHQL),
    ],
)
async def test_the_answers_media_type_is_the_one_that_is_liked_best(
    http: Any, accept: str | None, kind: str
) -> None:
    response = await post(http, accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{kind}; charset=utf-8"


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/*", f"{JSON};q=0", "*/*;q=0", f"{GRAPHQL};q=0, {JSON};q=0.0", "nonsense"],
)
async def test_where_nothing_is_acceptable_the_answer_is_406(http: Any, accept: str) -> None:
    assert_refused(await post(http, accept=accept), 406, "BAD_REQUEST")


async def test_an_error_is_a_graphql_response_even_for_who_accepts_json_only(http: Any) -> None:
    response = await post(http, b'{"query":"{ nothing }"}', accept=JSON)
    assert_refused(response, 422, "GRAPHQL_VALIDATION_FAILED")


async def test_an_error_is_never_2xx_whatever_is_accepted(http: Any) -> None:
    for accept in (JSON, GRAPHQL, "*/*", "text/html"):
        response = await post(http, b'{"query":"{"}', accept=accept)
        assert 400 <= response.status_code < 500


# What a request is.


@pytest.mark.parametrize(
    "body", [b"", b"NONSENSE", b'{"query":', b'{"query":"{a}"}}', b"{'query':1}"]
)
async def test_a_body_that_is_no_json_is_400(http: Any, body: bytes) -> None:
    assert_refused(await post(http, body), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        5,
        None,
        "x",
        True,
        [],
        [{"query": "{ __typename }"}],
        {},
        {"qeury": "{ __typename }"},
        {"query": None},
        {"query": 5},
        {"query": ["{ __typename }"]},
        {"query": "{ __typename }", "operationName": 5},
        {"query": "{ __typename }", "operationName": []},
        {"query": "{ __typename }", "variables": [7]},
        {"query": "{ __typename }", "variables": "{}"},
        {"query": "{ __typename }", "variables": False},
        {"query": "{ __typename }", "extensions": []},
        {"query": "{ __typename }", "extensions": "x"},
    ],
)
async def test_json_that_is_no_graphql_request_is_422(http: Any, body: object) -> None:
    assert_refused(await ask(http, body), 422, "BAD_REQUEST")


@pytest.mark.parametrize(
    "more",
    [
        {"unknown": {"deep": [1]}, "id": 1},
        {"operationName": None, "variables": None, "extensions": None},
        {"variables": {}, "extensions": {"persistedQuery": {"version": 1}}},
        {"variables": {"nobody": "asked"}},
    ],
)
async def test_what_is_unknown_null_or_empty_is_as_good_as_absent(http: Any, more: Any) -> None:
    response = await ask(http, {"query": "{ __typename }"} | more)
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("query", ["", "{", "nonsense", "{ a(: }", '{ a(b: "c) }'])
async def test_a_document_that_does_not_parse_is_400(http: Any, query: str) -> None:
    assert_refused(await ask(http, {"query": query}), 400, "GRAPHQL_PARSE_FAILED")


@pytest.mark.parametrize(
    "query",
    [
        "{ nothing }",
        "{ viewer }",
        "{ __typename { x } }",
        "{ ...nowhere }",
        "fragment f on Query { __typename }",
        "type Query { mine: Int }",
        "subscription { anything }",
        "query A { __typename } query A { __typename }",
        "{ __typename } { __typename }",
        "query ($a: Nonsense) { __typename }",
        "mutation { revokeSession(id: [1]) { status } }",
    ],
)
async def test_a_document_that_is_not_valid_is_422(http: Any, query: str) -> None:
    assert_refused(await ask(http, {"query": query}), 422, "GRAPHQL_VALIDATION_FAILED")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("query A { __typename } query B { __typename }", None),
        ("query A { __typename } query B { __typename }", ""),
        ("query A { __typename } query B { __typename }", "C"),
        ("{ __typename }", "A"),
    ],
)
async def test_an_operation_that_is_unknown_or_not_clear_is_422(
    http: Any, query: str, name: str | None
) -> None:
    response = await ask(http, {"query": query, "operationName": name})
    assert_refused(response, 422, "BAD_USER_INPUT")


async def test_the_named_operation_is_the_one_that_runs(http: Any) -> None:
    query = "query A { __typename } query B { b: __typename }"
    response = await ask(http, {"query": query, "operationName": "B"})
    assert response.json() == {"data": {"b": "Query"}}


@pytest.mark.parametrize("variables", [{}, {"if": None}, {"if": "yes"}, {"if": 1}, {"if": [True]}])
async def test_variables_that_do_not_fit_are_422(http: Any, variables: Any) -> None:
    query = "query ($if: Boolean!) { __typename @include(if: $if) }"
    response = await ask(http, {"query": query, "variables": variables})
    assert_refused(response, 422, "BAD_USER_INPUT")


# GET.


async def get(http: Any, **parameters: str) -> Any:
    return await http.get("/graphql", params=parameters, headers={"Accept": GRAPHQL})


async def test_a_query_can_be_sent_by_get(http: Any) -> None:
    response = await get(
        http,
        query="query A { a: __typename } query B($x: Boolean!) { b: __typename @include(if: $x) }",
        operationName="B",
        variables='{"x": true}',
        extensions='{"any": "thing"}',
    )
    assert response.json() == {"data": {"b": "Query"}}


async def test_by_get_an_empty_parameter_is_an_absent_one(http: Any) -> None:
    response = await get(
        http, query="{ __typename }", operationName="", variables="", extensions=""
    )
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({}, 422),
        ({"query": ""}, 422),
        ({"query": "{ __typename }", "variables": "["}, 400),
        ({"query": "{ __typename }", "variables": "[]"}, 422),
        ({"query": "{ __typename }", "variables": "5"}, 422),
        ({"query": "{ __typename }", "extensions": "{"}, 400),
        ({"query": "{ __typename }", "extensions": '"x"'}, 422),
    ],
)
async def test_parameters_that_are_no_graphql_request_are_4xx(
    http: Any, parameters: Any, status: int
) -> None:
    assert_refused(await get(http, **parameters), status, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["query", "operationName", "variables", "extensions"])
async def test_a_parameter_that_stands_twice_is_422(http: Any, name: str) -> None:
    twice = urlencode([("query", "{ __typename }"), (name, "{}"), (name, "{}")])
    response = await http.get(f"/graphql?{twice}", headers={"Accept": GRAPHQL})
    assert_refused(response, 422, "BAD_REQUEST")


async def test_by_operation_name_null_an_operation_called_null_is_meant(http: Any) -> None:
    response = await get(http, query="query null { __typename }", operationName="null")
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_mutation_by_get_is_405(http: Any, method: str) -> None:
    parameters = {"query": f"query Q {{ __typename }} {MUTATION.replace(' ', ' M ', 1)}"}
    parameters |= {"operationName": "M"}
    response = await http.request(method, "/graphql", params=parameters)
    assert_refused(response, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in response.headers["allow"]
    assert "GET" not in response.headers["allow"]


async def test_the_query_string_of_a_post_is_not_read(http: Any) -> None:
    response = await http.post("/graphql?query={nothing}", json={"query": "{ __typename }"})
    assert response.json() == {"data": {"__typename": "Query"}}


# Methods.


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "QUERY", "post", "BREW"])
async def test_another_method_is_405_and_told_which_are_allowed(http: Any, method: str) -> None:
    request = http.build_request(method, "/graphql", content=TYPENAME)
    request.method = method
    response = await http.send(request)
    assert_refused(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize("token", [None, "no.good.token"])
async def test_options_passes_no_door(http: Any, token: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = await http.options("/graphql", headers=headers)
    assert response.status_code == 204
    assert response.headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize("token", [None, "no.good.token"])
async def test_a_browser_gets_the_page_whatever_its_token(http: Any, token: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    response = await http.get("/graphql", headers=browser | headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"


async def test_a_browser_that_sends_a_query_gets_its_answer(http: Any) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    response = await http.get("/graphql?query={__typename}", headers=browser)
    assert response.json() == {"data": {"__typename": "Query"}}


# The schema about itself.


async def test_the_longest_introspection_is_answered(http: Any) -> None:
    query = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        one_of=True,
    )
    response = await ask(http, {"query": query})
    assert response.status_code == 200, response.text
    assert response.json()["data"]["__schema"]["queryType"] == {"name": "Query", "kind": "OBJECT"}


async def test_a_type_is_asked_whether_it_takes_one_of_its_fields_only(http: Any) -> None:
    """Of whatever kind it is: null where it takes no fields."""
    inner = "name isOneOf ofType { isOneOf ofType { isOneOf ofType { isOneOf } } }"
    query = f"{{ __schema {{ types {{ name isOneOf fields {{ type {{ {inner} }} }} }} }} }}"
    body = (await ask(http, {"query": query})).json()
    assert "errors" not in body
    told = {of["name"]: of["isOneOf"] for of in body["data"]["__schema"]["types"]}
    assert [name for name, is_one_of in told.items() if is_one_of] == ["CredentialsInput"]
    assert (told["CreateSessionInput"], told["Session"]) == (False, None)


@pytest.fixture
async def closed() -> Any:
    """A client of a server whose schema may not be asked for."""
    settings = Settings(
        DATABASE_URL=NOWHERE, JWT_SECRET=SecretStr(SECRET), GRAPHQL_INTROSPECTION=False
    )
    transport = httpx2.ASGITransport(app=create_app(settings))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
        yield http


@pytest.mark.parametrize(
    "query", ["{ __schema { types { name } } }", '{ __type(name: "Q") { name } }']
)
async def test_introspection_can_be_switched_off(closed: Any, query: str) -> None:
    assert_refused(await ask(closed, {"query": query}), 422, "GRAPHQL_VALIDATION_FAILED")
    assert (await ask(closed, {"query": "{ __typename }"})).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{ viewr { id } }"},
        {"query": "{ viewer { usrname } }"},
        {
            "query": "mutation ($i: CreateSessionInput) { createSession(input: $i) { token } }",
            "variables": {"i": {"lable": "x"}},
        },
    ],
)
async def test_suggestions_go_with_introspection(http: Any, closed: Any, body: Any) -> None:
    assert "Did you mean" in (await ask(http, body)).text
    assert "Did you mean" not in (await ask(closed, body)).text


# With `data`, and without.


async def test_a_guarded_field_without_a_credential_is_an_error_beside_data(http: Any) -> None:
    response = await ask(http, {"query": "{ mySessions { id } }"})
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_where_the_store_is_away_and_nothing_is_left_the_answer_is_503(http: Any) -> None:
    response = await ask(http, {"query": MUTATION})
    assert_refused(response, 503, "SESSION_STORE_UNAVAILABLE")
    assert int(response.headers["retry-after"]) >= 1


async def test_no_more_than_ten_errors_are_told(http: Any) -> None:
    many = " ".join(f"nothing{i}" for i in range(20))
    response = await ask(http, {"query": f"{{ {many} }}"})
    assert len(response.json()["errors"]) == 10


# The door comes first.

HUGE = {"Content-Length": "100000000"}
BAD_REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a bad method": ("PUT", "/graphql", {}),
    "an unknown method": ("BREW", "/graphql", {}),
    "trace": ("TRACE", "/graphql", {}),
    "head": ("HEAD", "/graphql", {}),
    "a get": ("GET", "/graphql?query={__typename}", {}),
    "a get without a query": ("GET", "/graphql", {}),
    "a page with a query": ("GET", "/graphql?query={a}", {"headers": {"Accept": "text/html"}}),
    "a mutation by get": ("GET", "/graphql?query=mutation{createSession{token}}", {}),
    "a bad type": (
        "POST",
        "/graphql",
        {"content": b"x", "headers": {"Content-Type": "text/plain"}},
    ),
    "an encoding": ("POST", "/graphql", {"json": {}, "headers": {"Content-Encoding": "gzip"}}),
    "a bad accept": ("POST", "/graphql", {"json": {}, "headers": {"Accept": "image/png"}}),
    "a huge body": ("POST", "/graphql", {"content": b"x" * 1_000_000}),
    "a huge body declared": ("POST", "/graphql", {"content": b"x", "headers": HUGE}),
    "junk": ("POST", "/graphql", {"content": b"{", "headers": {"Content-Type": JSON}}),
    "a wrong shape": ("POST", "/graphql", {"json": 5}),
    "no document": ("POST", "/graphql", {"json": {"query": "{"}}),
    "a good mutation": ("POST", "/graphql", {"json": {"query": MUTATION}}),
    "a public query": ("POST", "/graphql", {"json": {"query": "{ sessionPolicy { retention } }"}}),
    "signing out": ("DELETE", "/session", {}),
    "getting the session": ("GET", "/session", {}),
    "putting the session": ("PUT", "/session", {}),
    "validating": ("GET", "/session/validate", {}),
    "validating by post": ("POST", "/session/validate", {"content": b"x"}),
    "validating by options": ("OPTIONS", "/session/validate", {}),
    "validating by brew": ("BREW", "/session/validate", {}),
    "validating a path": ("PATCH", "/session/validate/any/path?x=1", {}),
    "validating a slash": ("GET", "/session/validate/", {}),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_token_is_401_whatever_else_the_request_is(client: Any, name: str) -> None:
    guest = await client.guest()
    await client.data("mutation { revokeSession { status } }", token=guest.token)
    method, url, sent = BAD_REQUESTS[name]
    for token, reason in ((guest.token, "SESSION_REVOKED"), ("no.good.token", "TOKEN_INVALID")):
        headers = {"Authorization": f"Bearer {token}"} | sent.get("headers", {})
        response = await client.http.request(method, url, **(sent | {"headers": headers}))
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        if method != "HEAD":  # which has no body
            assert set(response.json()) == {"errors"}
            assert response.json()["errors"][0]["extensions"]["reason"] == reason


@pytest.mark.parametrize("name", ["a good mutation", "signing out", "validating"])
@pytest.mark.parametrize(
    "values", [["Bearer"], ["Bearer "], [""], ["Bearer a b"], ["Bearer x", "Bearer x"]]
)
async def test_a_credential_that_cannot_be_read_is_400(
    http: Any, name: str, values: list[str]
) -> None:
    method, url, sent = BAD_REQUESTS[name]
    headers = [("Authorization", value) for value in values]
    response = await http.request(method, url, headers=headers, **sent)
    assert response.status_code == 400
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_request"'
    assert set(response.json()) == {"errors"}


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "DPoP", "Token"])
async def test_another_scheme_is_401(http: Any, scheme: str) -> None:
    response = await post(http, authorization=f"{scheme} abc")
    assert_refused(response, 401, "UNAUTHENTICATED")


async def test_a_token_elsewhere_has_no_effect(client: Any) -> None:
    guest = await client.guest()
    client.http.cookies.set("Authorization", guest.token)
    response = await client.http.post(
        f"/graphql?access_token={guest.token}&Authorization=Bearer+{guest.token}",
        json={"query": "{ viewer { id } }", "access_token": guest.token},
    )
    assert response.json() == {"data": {"viewer": None}}
