"""Compiled operations answer what graphql-core answers, to the letter, and ask nobody twice."""

import asyncio
import gc
import json
import random
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import make_dataclass
from inspect import isawaitable
from itertools import product
from types import CodeType, FunctionType, ModuleType, NoneType
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute,
    get_variable_values,
    parse,
    validate,
)

from compiler import values
from compiler.plan import Plan, compile_operation
from context import Context, admit
from tests.compiler_documents import Writer
from tests.compiler_world import SCHEMA, World
from tests.conftest import AddSession, Client
from web.operations import core, make_schema

WORLD = core(SCHEMA)
OURS = core(make_schema())
MAX_TEXT = 1000  # longer ones say nothing new, and take their time
ABSTRACT = frozenset({"named", "either", "guarded"})
THING = """id name nick size weight ok colour shade born day hour key exact tags oddTags grid
    child { id } twin { id } children { id name } maybeChildren { id }"""


def operation(document: DocumentNode) -> OperationDefinitionNode:
    """The only operation of a document."""
    [found] = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    return found


def compiled(text: str, schema: GraphQLSchema = WORLD) -> tuple[Plan | None, DocumentNode]:
    """A valid document and its plan."""
    document = parse(text)
    assert validate(schema, document) == []
    return compile_operation(schema, document, operation(document)), document


def by_graphql_core(
    schema: GraphQLSchema, document: DocumentNode, context: object, variables: dict[str, Any]
) -> Any:
    """What the only operation of a document answers."""
    name = operation(document).name
    return execute(
        schema,
        document,
        context_value=context,
        variable_values=variables,
        operation_name=name.value if name else None,
    )


async def finished(result: Any) -> ExecutionResult:
    """A result that may have to be awaited."""
    found = await result if isawaitable(result) else result
    assert isinstance(found, ExecutionResult)
    return found


def told(result: ExecutionResult) -> Any:
    """All of a result that anybody can see, keys in their order."""
    errors = [
        (
            *(error.message, error.path, error.locations, error.extensions),
            *([id(node) for node in error.nodes or ()], repr(error.original_error)),
            type(error.original_error),
        )
        for error in result.errors or ()
    ]
    return json.dumps(result.data), result.errors is None, errors, result.extensions


async def same(
    text: str, *, seed: int = 1, trouble: float = 0.0, variables: Any = None
) -> ExecutionResult:
    """The result of a document that is compiled, which is graphql-core's in all respects."""
    plan, document = compiled(text)
    assert plan
    return await compare(plan, document, World(seed, trouble), World(seed, trouble), variables)


async def compare(
    plan: Plan, document: DocumentNode, ours: World, theirs: World, variables: Any = None
) -> ExecutionResult:
    """Executes both ways: results, and who was asked in what order, are the same."""
    variables = variables or {}
    expected = await finished(by_graphql_core(WORLD, document, theirs, variables))
    found = await finished(plan.execute(ours, variables))
    assert told(found) == told(expected)
    for _ in range(20):  # what an error left behind goes on
        await asyncio.sleep(0)
    assert ours.asked == theirs.asked
    assert max(Counter(ours.asked).values(), default=1) == 1
    return found


def generated(schema: GraphQLSchema, count: int, **options: Any) -> Iterator[tuple[Any, ...]]:
    """Valid documents, the variables that they are sent with, and the number of each."""
    number = 0
    while count:
        number += 1
        writer = Writer(schema, random.Random(number), **options)  # noqa: S311
        roots = [schema.query_type, schema.query_type, schema.mutation_type]
        root = roots[number % 3] if "serial" not in writer.leave_out else schema.query_type
        assert isinstance(root, GraphQLObjectType)
        text = writer.document(root)
        if len(text) < MAX_TEXT and not validate(schema, document := parse(text)):
            count -= 1
            yield number, document, writer.variables()


@pytest.mark.parametrize("trouble", [0.0, 0.1, 0.3])
async def test_generated_documents_are_answered_as_by_graphql_core(trouble: float) -> None:
    seen: Counter[str] = Counter()
    for number, document, variables in generated(WORLD, 150, leave_out=ABSTRACT - {"guarded"}):
        plan = compile_operation(WORLD, document, operation(document))
        assert plan
        definitions = operation(document).variable_definitions or ()
        assert not isinstance(get_variable_values(WORLD, definitions, variables), list)
        worlds = World(number, trouble), World(number, trouble)
        result = await compare(plan, document, *worlds, variables)
        seen.update(
            {"by tables": is_by_table(plan)}, errors=bool(result.errors), null=result.data is None
        )
        seen.update(several=len(result.errors or ()) > 1, asked=len(worlds[0].asked))
    assert seen["by tables"] > 40
    assert seen["asked"] > 150
    if trouble:
        assert min(seen["errors"], seen["several"], seen["null"]) >= 5


def is_by_table(plan: Plan) -> bool:
    """Whether the root field is called and completed without graphql-core."""
    shapes = plan._shapes.values()
    return any(shape._alone for shape in shapes)


@pytest.mark.parametrize(
    "text",
    [
        "{ named { label } }",
        "{ either { ... on Other { size } } }",
        "{ __schema { queryType { name } } }",
        '{ thing { id } __type(name: "Thing") { name } }',
        """query($a: Boolean!, $b: Boolean!, $c: Boolean!, $d: Boolean!) { a: source @skip(if: $a)
        b: source @skip(if: $b) c: source @skip(if: $c) d: source @skip(if: $d) }""",
    ],
)
def test_what_is_not_known_is_left_to_graphql_core(text: str) -> None:
    assert compiled(text)[0] is None


def test_subscriptions_and_other_directives_are_left_to_graphql_core() -> None:
    schema = build_schema(
        """directive @odd on QUERY | FIELD
        type Query { a: Int } type Subscription { a: Int }"""
    )
    assert compiled("{ a }", schema)[0]
    for text in ["subscription { a }", "query @odd { a }", "{ a @odd }"]:
        assert compiled(text, schema)[0] is None


async def test_a_schema_that_strawberry_did_not_make_gives_the_same() -> None:
    schema = build_schema("type Query { a: Int b: Int! }")
    for text in ["{ a }", "{ a __typename b }"]:
        plan, document = compiled(text, schema)
        assert plan
        assert told(await finished(plan.execute(None, {}))) == told(
            await finished(execute(schema, document))
        )


@pytest.mark.parametrize(
    "root", ["thing", "sureThing", "slowThing", "things", "maybeThings", "things(many: false)"]
)
async def test_a_root_field_of_known_values_is_completed_by_tables(root: str) -> None:
    text = f"{{ {root} {{ {THING} }} }}"
    plan, _ = compiled(text)
    assert plan
    assert is_by_table(plan)
    for seed in range(5):
        await same(text, seed=seed)
    results = [await same(text, seed=seed, trouble=0.3) for seed in range(40)]
    assert any(result.errors for result in results)


@pytest.mark.parametrize("field", ["price", "badge { label }", "plaque { inscription }", "later"])
def test_fields_that_run_code_are_not_completed_by_tables(field: str) -> None:
    plan, _ = compiled(f"{{ thing {{ id {field} }} }}")
    assert plan
    assert not is_by_table(plan)


async def test_a_synchronous_operation_is_answered_at_once() -> None:
    for text in ["{ thing { id } }", "{ thing { id sync } source }", "mutation { set { id } }"]:
        plan, _ = compiled(text)
        assert plan
        assert isinstance(plan.execute(World(1), {}), ExecutionResult)


async def test_a_resolver_is_called_once_even_when_its_value_cannot_be_completed() -> None:
    for root in ["thing", "slowThing"]:
        for seed in range(60):
            plan, _ = compiled(f"{{ {root} {{ {THING} }} }}")
            assert plan
            world = World(seed, trouble=0.4)
            await finished(plan.execute(world, {}))
            assert world.asked == [(root,)]


@pytest.mark.parametrize("text", ["{ guarded { id } }", "{ guarded { id } source }"])
async def test_a_permission_is_asked_by_whatever_way_a_field_goes(text: str) -> None:
    assert (await same(text, seed=2)).errors is None
    refused = await same(text, seed=1)
    assert [error.message for error in refused.errors or ()] == ["not for you"]


@pytest.mark.parametrize("text", ["{ pile }", "{ pile(items: [1, 2]) }", "{ pile(items: 4) }"])
async def test_executions_share_no_argument_that_can_be_changed(text: str) -> None:
    plan, _ = compiled(text)
    assert plan
    first, second = [await finished(plan.execute(World(1), {})) for _ in range(2)]
    assert first.data == second.data


async def test_an_attribute_that_runs_code_is_read_once() -> None:
    for text in [
        "{ fickle { name } }",
        "{ fickle { nick name } }",
        "{ fickle { nick later name } }",
    ]:
        await same(text)


@pytest.mark.parametrize(
    "text",
    [
        "{ a: told }",
        "query Q { told(n: 5) ...F } fragment F on Query { told(n: 5) }",
        "query($n: Int = 3, $yes: Boolean!) { told(n: $n) @include(if: $yes) }",
        "{ told ... on Query { told } source }",
    ],
)
async def test_info_says_what_graphql_cores_says(text: str) -> None:
    result = await same(text, variables={"yes": True})
    assert result.errors is None


async def test_arguments_are_coerced_as_by_graphql_core() -> None:
    text = """query($text: String! = "x", $n: Int, $points: [Point!], $choice: Choice, $id: ID!) {
        a: echo b: echo(text: $text, n: $n, points: $points, choice: $choice, IDs: [$id, "2"])
        c: echo(text: "", n: null, colour: VERT, points: {x: 1, colour: RED}, IDs: 3)
        d: echo(choice: {point: {x: 1, note: null}}, born: "2026-01-02")
    }"""
    for variables in [
        {"id": 1},
        {"id": "1", "n": None, "points": None, "choice": None, "text": "\u2028"},
        {"id": "1", "n": 2, "points": {"x": 4}, "choice": {"name": "n"}},
    ]:
        result = await same(text, variables=variables)
        assert result.errors is None


async def test_a_choice_of_null_is_refused_as_by_graphql_core() -> None:
    text = "query($if: Boolean = true) { source thing @include(if: $if) { id } }"
    for value in [True, False]:
        assert (await same(text, variables={"if": value})).errors is None
    assert (await same(text)).errors is None
    assert (await same(text, variables={"if": None})).errors


async def test_names_and_texts_of_any_kind_stay_what_they_are() -> None:
    names = [
        "class",
        "None",
        "True",
        "__init__",
        "__dict__",
        "__class__",
        "self",
        "lambda",
        "_",
        "f",
    ]
    texts = ['"\\"\\n\\u0022{}%s"', '"""a\n"b" {x}\n"""', '"\U0001f40d é \\\\"', '"{key!r:{0}}"']
    fields = [f"{name}: name" for name in names]
    await same(f"{{ thing {{ {' '.join(fields)} }} }}")
    await same(f"{{ slowThing {{ {' '.join(fields)} name }} }}", trouble=0.5, seed=3)
    for name, text in zip(names, texts * 9, strict=False):
        await same(f"query {name}($v: String! = {text}) {{ {name}: echo(text: $v) }}")
        await same(f"query {name} {{ {name}: echo(text: {text}) }}")
        await same(f"{{ ...{name} }} fragment {name} on Query {{ {name}: source }}")


def test_no_code_is_made_of_a_document() -> None:
    text = '{ zebra: thing { okapi: name } tapir: echo(text: "quagga") }'
    plan, _ = compiled(text)
    one, _ = compiled("{ zebra: thing { okapi: name } }")
    code = [code for found in (plan, one) for code in codes(found)]
    assert len(code) > 5
    seen = " ".join(repr((c.co_filename, c.co_consts, c.co_names, c.co_varnames)) for c in code)
    assert "compiler/" in seen
    assert not [word for word in ("zebra", "okapi", "tapir", "quagga") if word in seen]


def codes(start: object) -> list[CodeType]:
    """The code of every function that an object holds, of ours."""
    rest, seen, found = [start], set(), []
    while rest:
        item = rest.pop()
        if id(item) in seen or isinstance(item, ModuleType | type | GraphQLSchema):
            continue
        seen.add(id(item))
        if isinstance(item, FunctionType):
            found += [item.__code__] if "compiler" in item.__module__ else []
            rest.append(item.__closure__)
        else:
            rest += gc.get_referents(item)
    return found


def test_the_size_counts_the_fields_of_every_choice() -> None:
    sizes = {
        "{ source }": 1,
        "{ thing { id twin { id name } } }": 5,
        "query($a: Boolean!) { source thing @skip(if: $a) { id } }": 4,
        "{ ...F ...F } fragment F on Query { thing { id } }": 2,
    }
    for text, size in sizes.items():
        plan, _ = compiled(text)
        assert plan
        assert plan.size == size


async def test_a_plan_keeps_nothing_of_an_execution() -> None:
    plans = [
        compiled(text)[0] for text in ("{ thing { id } }", "{ slowThing { id later } source }")
    ]
    for plan in plans:
        assert plan
        world = World(1, trouble=0.5)
        gone = weakref.ref(world)
        for seed in range(9):
            world.seed = seed
            await finished(plan.execute(world, {}))
        del world
        gc.collect()
        assert gone() is None


def test_only_so_many_kinds_of_rows_are_remembered() -> None:
    names = "abcdefgh"
    kind = make_dataclass("Kind", names)
    columns: Any = {name: (name, {NoneType: None, int: str}) for name in names}
    [convert] = values.of_object(kind, columns).values()
    assert convert
    for row in product((None, 1), repeat=len(names)):
        assert list(convert(kind(*row)).values()) == [None if x is None else "1" for x in row]
    closure: Any = getattr(convert, "__closure__", ())
    [seen] = [c.cell_contents for c in closure if isinstance(c.cell_contents, dict)]
    assert len(seen) == values.MAX_ROWS


async def test_our_own_schema_gives_the_same(client: Client, add_session: AddSession) -> None:
    guest = await client.guest()
    for label in ("one", "two"):
        await add_session(guest, label)
    viewer = await admit(client.services, [f"Bearer {guest.token}".encode()], address=None)
    assert viewer
    by_table = 0
    left_out = frozenset({"sessions", "serial"})
    for number, document, variables in generated(OURS, 60, leave_out=left_out):
        plan = compile_operation(OURS, document, operation(document))
        assert plan
        by_table += is_by_table(plan)
        for caller in (viewer, None) if number % 4 else (None,):
            ours, theirs = (Context(client.services, caller) for _ in range(2))
            expected = await finished(by_graphql_core(OURS, document, theirs, variables))
            assert told(await finished(plan.execute(ours, variables))) == told(expected)
    assert by_table > 10
