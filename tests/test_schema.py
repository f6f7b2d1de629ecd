"""The contract is a file, and its root fields are guarded unless they are marked public."""

import subprocess
import sys
from typing import Any

import pytest
from graphql import (
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    is_input_object_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from schema.root import PUBLIC
from settings import ROOT
from web.operations import make_schema

CORE = make_schema()._schema
ROOTS = [
    (kind, name, field)
    for kind, root in (("query", CORE.query_type), ("mutation", CORE.mutation_type))
    if root
    for name, field in root.fields.items()
]


def operation(kind: str, name: str, field: GraphQLField) -> str:
    """The shortest operation that asks for a root field."""
    needed = [
        f"{key}: {literal(argument.type)}"
        for key, argument in field.args.items()
        if is_required_argument(argument)
    ]
    arguments = f"({', '.join(needed)})" if needed else ""
    return f"{kind} {{ {name}{arguments} {selection(field.type)} }}"


def literal(of: Any) -> str:
    """Some value of an argument's type."""
    of = getattr(of, "of_type", of)
    if not is_input_object_type(of):
        return "true" if of.name == "Boolean" else '"x"'
    needed = [name for name, field in of.fields.items() if is_required_input_field(field)]
    needed = needed or (list(of.fields)[:1] if of.is_one_of else [])
    return f"{{{', '.join(f'{name}: {literal(of.fields[name].type)}' for name in needed)}}}"


def selection(of: Any) -> str:
    """The shortest selection."""
    while hasattr(of, "of_type"):
        of = of.of_type
    return "" if is_leaf_type(of) else "{ __typename }"


def test_the_committed_sdl_is_this_codes_schema() -> None:
    command = [sys.executable, "tools/export_sdl.py", "--check"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_a_stale_sdl_is_noticed(clone: Any) -> None:
    (clone / "schema" / "schema.graphql").write_text("type Query { old: Int }\n")
    command = [sys.executable, "tools/export_sdl.py", "--check"]
    checked = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert "stale" in checked.stderr


def test_what_is_marked_public_exists() -> None:
    assert {name for _, name, _ in ROOTS} >= PUBLIC


@pytest.mark.parametrize(("kind", "name", "field"), ROOTS, ids=[name for _, name, _ in ROOTS])
async def test_a_root_field_is_guarded_unless_it_is_public(
    client: Any, kind: str, name: str, field: GraphQLField
) -> None:
    response = await client.gql(operation(kind, name, field))
    assert response.status_code == 200
    errors = response.json().get("errors")
    if name in PUBLIC:
        assert not errors
    else:
        assert errors[0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert errors[0]["path"] == [name]
        assert response.json()["data"] is None


@pytest.mark.parametrize(("kind", "name", "field"), ROOTS, ids=[name for _, name, _ in ROOTS])
async def test_a_dead_token_opens_no_root_field(
    client: Any, db: Any, kind: str, name: str, field: GraphQLField
) -> None:
    guest = await client.guest()
    await client.data("mutation { revokeSession { status } }", token=guest.token)
    before = await db.fetch("SELECT * FROM user_sessions")
    response = await client.gql(operation(kind, name, field), token=guest.token)
    assert response.status_code == 401
    assert "data" not in response.json()
    assert await db.fetch("SELECT * FROM user_sessions") == before


def test_root_fields_of_mutations_are_non_null() -> None:
    assert isinstance(CORE.mutation_type, GraphQLObjectType)
    assert all(isinstance(f.type, GraphQLNonNull) for f in CORE.mutation_type.fields.values())


def test_every_type_and_root_field_is_described() -> None:
    ours = [t for n, t in CORE.type_map.items() if not n.startswith("__") and n not in BUILT_IN]
    assert [t.name for t in ours if not t.description] == []
    assert [name for _, name, field in ROOTS if not field.description] == []


BUILT_IN = {"Query", "Mutation", "Subscription", "ID", "String", "Boolean", "Int", "Float"}
