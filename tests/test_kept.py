"""What is kept because it is sent again and again; and who cannot push it out."""

import gc
from typing import Any

import pytest
from graphql import Token

from web import documents
from web.kept import Kept
from web.operations import Definition, GraphQLRequest, Operations, core, make_schema, plan_of


def test_what_was_put_is_found_again() -> None:
    kept: Kept[str, int] = Kept(100)
    kept.put("a", 1)
    assert (kept.get("a"), kept.get("b")) == (1, None)


def test_the_lengths_of_all_keys_have_a_bound() -> None:
    kept: Kept[str, int] = Kept(100)
    for n in range(1000):
        kept.put(f"{n:010}", n)
        assert len(kept) <= 10


def test_what_is_too_large_alone_is_not_kept_and_leaves_the_rest() -> None:
    kept: Kept[str, int] = Kept(100)
    kept.put("small", 1)
    kept.put("x" * 101, 2)
    assert kept.get("x" * 101) is None


def test_what_is_put_again_counts_once_and_keeps_its_uses() -> None:
    kept: Kept[str, int] = Kept(100)
    kept.put("seldom", 1)
    kept.put("in-use", 2)
    for _ in range(1000):
        kept.put("in-use", 3)
    assert (kept.get("in-use"), kept.get("seldom")) == (2, 1)


def test_a_stranger_with_ever_new_things_pushes_out_nothing_that_is_in_use() -> None:
    kept: Kept[str, int] = Kept(100)
    kept.put("in-use", 0)
    for n in range(10_000):
        kept.put(f"{n:010}", n)
        assert kept.get(f"{n:010}") == n
        assert kept.get("in-use") == 0, n
        assert kept.get("in-use") == 0, n


async def test_a_document_is_validated_once_and_its_limits_hold_the_next_time(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    really = documents.prepare

    def prepare(query: str, *rest: Any, **more: Any) -> Any:
        seen.append(query)
        return really(query, *rest, **more)

    monkeypatch.setattr(documents, "prepare", prepare)
    good, bad = "{ viewer { id } }", "{ nothing }"
    for _ in range(3):
        await client.data(good)
        assert (await client.gql(bad)).status_code == 422
    assert seen == [good, bad, bad, bad]


async def test_one_text_under_two_operation_names_stays_two_operations(client: Any) -> None:
    query = "query A { viewer { id } } query B { sessionPolicy { retention } }"
    for _ in range(2):
        for name, field in (("A", "viewer"), ("B", "sessionPolicy")):
            body = {"query": query, "operationName": name}
            answer = (await client.http.post("/graphql", json=body)).json()
            assert list(answer["data"]) == [field]
        unclear = await client.http.post("/graphql", json={"query": query})
        assert unclear.status_code == 422


async def test_a_known_body_is_still_refused_under_another_type(client: Any) -> None:
    body, json = b'{"query": "{ viewer { id } }"}', {"Content-Type": "application/json"}
    for _ in range(2):
        good = await client.http.post("/graphql", content=body, headers=json)
        assert good.status_code == 200
        for kind in ({"Content-Type": "text/plain"}, {**json, "Content-Encoding": "gzip"}, {}):
            refused = await client.http.post("/graphql", content=body, headers=kind)
            assert refused.status_code == 415


async def test_variables_are_never_taken_from_a_request_before(client: Any) -> None:
    query = "query($no: Boolean!) { viewer @skip(if: $no) { id } sessionPolicy { retention } }"
    for no in (True, False, True, False):
        answer = await client.data(query, no=no)
        assert ("viewer" in answer) is not no
    missing = await client.http.post("/graphql", json={"query": query})
    assert missing.status_code == 422


def test_of_a_document_no_more_is_compiled_than_its_length_pays_for() -> None:
    """Aliases of one fragment, times eight for three variables: megabytes for a kilobyte."""
    operations = Operations(introspection=True, compile_after=0)
    fields = "id label status createdAt user { id username } client { name os userAgent }"
    aliases = " ".join(f"a{n}: mySessions {{ ...S }}" for n in range(18))
    variables = "$a: Boolean!, $b: Boolean!, $c: Boolean!"
    choosing = "b: __typename @skip(if: $a) c: __typename @skip(if: $b) @include(if: $c)"
    large = f"query({variables}) {{ ...Q {choosing} }} fragment S on Session {{ {fields} }}"
    large += f" fragment Q on Query {{ {aliases} }}"
    schema = core(make_schema())
    for query, is_compiled in ((large, False), (f"{{ mySessions {{ {fields} }} }}", True)):
        found = operations.prepare(GraphQLRequest(query, None, {})).definition
        assert (plan_of(schema, found) is not None) is is_compiled


@pytest.mark.parametrize(
    "query",
    [
        "query Q { viewer { ...F } } fragment F on User { id }",
        "query Q($a: Boolean!) { mySessions { id @skip(if: $a) client { name } } }",
        "{ viewer { id } currentSession { id } }",
        "mutation { createSession { token } }",
    ],
)
def test_what_is_kept_no_longer_needs_no_garbage_collector(query: str) -> None:
    """Which looks at what is old so seldom that strangers could fill the memory meanwhile."""
    schema = core(make_schema())

    def compiled() -> Definition:
        document = documents.parsed(query)
        found = Definition(document, documents.operation(document, None), room=100)
        found.plan = plan_of(schema, found)
        return found

    compiled()  # what is made once for all
    gc.collect()
    gc.disable()
    try:
        before = tokens_in_memory()
        kept = compiled()
        assert kept.plan
        assert tokens_in_memory() > before
        del kept
        assert tokens_in_memory() == before
    finally:
        gc.enable()


def tokens_in_memory() -> int:
    """How many tokens of documents there are."""
    return sum(type(one) is Token for one in gc.get_objects())
