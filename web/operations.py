"""GraphQL operations, however they arrive: prepared, executed, and what went wrong told.

graphql-core executes Strawberry's schema: what Strawberry's own execute adds per request
(extensions, their runner, a context of its own) nobody here uses, and it costs as much again.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from inspect import isawaitable
from typing import Any, NamedTuple

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    FieldNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLType,
    OperationDefinitionNode,
    OperationType,
    VariableValues,
    create_source_event_stream,
    execute,
    get_variable_values,
    is_input_object_type,
)

from compiler.plan import Plan, compile_operation
from context import Context
from schema.root import Mutation, Query, Subscription
from web import documents
from web.failures import Failures
from web.kept import Kept
from web.refusals import HttpRefused, as_refused, internal_error

CAPACITY = 200_000  # characters of documents kept; their trees take up to 250 bytes for each
PLANNED = 2  # characters of a document for each compiled field, which takes about 750 bytes
AS_IS = frozenset({datetime})  # orjson writes them as isoformat does, at an eighth of the cost
VALUES_HINT = "Send values of the types that the schema and the operation declare"


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A well-formed request: its shape is right, its content is not looked at yet."""

    query: str
    operation_name: str | None
    variables: dict[str, Any]


class Definition:
    """One operation of a document that was parsed, measured and validated."""

    def __init__(self, document: DocumentNode, node: OperationDefinitionNode, room: int) -> None:
        self.document = document
        self.node = node
        self.room = room  # fields that its plan may have
        self.kind = node.operation  # query, mutation or subscription
        self.name = node.name.value if node.name else None
        self.lists_sessions = "mySessions" in plain_root_fields(node)
        self.uses = 0  # by live sessions
        self.plan: Plan | None = None


def plain_root_fields(operation: OperationDefinitionNode) -> frozenset[str]:
    """The root fields that are surely wanted as they are: without arguments and directives."""
    return frozenset(
        node.name.value
        for node in operation.selection_set.selections
        if isinstance(node, FieldNode) and not (node.arguments or node.directives)
    )


@dataclass(slots=True)
class Prepared:
    """A document that may be executed, with its operations as far as they were asked for."""

    document: DocumentNode
    length: int  # characters of its text
    definitions: dict[str | None, Definition] = field(default_factory=dict)

    def definition(self, name: str | None) -> Definition:
        """The operation of this name. Raises HttpRefused 422 when that is not clear."""
        found = self.definitions.get(name)
        if found is None:
            node = documents.operation(self.document, name)
            # What is kept has a bound in characters, so plans have one by them: fragments under
            # many aliases, times eight for three variables in directives, would be megabytes.
            room = self.length // (PLANNED * len(self.document.definitions))
            found = self.definitions[name] = Definition(self.document, node, room)
        return found


class Operation(NamedTuple):
    """One operation of one request."""

    definition: Definition
    variables: dict[str, Any]  # as sent
    values: VariableValues | None = None  # these, where they were checked

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.definition.kind

    @property
    def name(self) -> str | None:
        """What the client calls it."""
        return self.definition.name


class Operations:
    """Prepares and executes what clients send."""

    def __init__(self, *, introspection: bool, compile_after: int) -> None:
        """compile_after: uses of an operation by live sessions before it is compiled; 0: never."""
        self._schema = core(make_schema())
        self._introspection = introspection
        self._compile_after = compile_after
        self._documents: Kept[str, Prepared] = Kept(CAPACITY)
        self._failures = Failures()

    def prepare(self, sent: GraphQLRequest) -> Operation:
        """The operation of a request. Raises HttpRefused (400 unparsable, 422 everything else).

        Validating costs 0.9 to 1.5 ms, parsing 0.1, and the document alone decides both: so it is
        kept for whoever sends it again.
        """
        prepared = self._documents.get(sent.query)
        if prepared is None:
            document = documents.prepare(
                sent.query, self._schema, introspection=self._introspection
            )
            prepared = Prepared(document, len(sent.query))
            self._documents.put(sent.query, prepared)
        return Operation(prepared.definition(sent.operation_name), sent.variables)

    def try_prepare(self, sent: GraphQLRequest) -> Operation | HttpRefused:
        """The operation with its variables checked, or what is wrong with the request."""
        try:
            return self.checked(self.prepare(sent))
        except HttpRefused as refused:
            return refused

    def checked(self, operation: Operation) -> Operation:
        """The operation with its values.

        Raises HttpRefused 422 unless every variable has a value of its type.
        """
        if operation.variables:
            documents.refuse_hidden_in(operation.variables, "the variables")
        declared = operation.definition.node.variable_definitions
        if not declared:
            return operation
        found = get_variable_values(
            self._schema,
            declared,
            operation.variables,
            max_errors=documents.MAX_ERRORS,
            hide_suggestions=not self._introspection,
        )
        if isinstance(found, list):
            raise documents.refusal(
                422, "BAD_USER_INPUT", found[: documents.MAX_ERRORS], VALUES_HINT
            )
        return operation._replace(values=found)

    async def results(
        self, operation: Operation, make_context: Callable[[], Context]
    ) -> AsyncIterator[ExecutionResult]:
        """What an operation answers: one result, or one for each event of a subscription.

        make_context is called for each: every result has the whole time for the database.
        """
        if operation.kind is not OperationType.SUBSCRIPTION:
            yield self.noted(await self.execute(operation, make_context()))
            return
        source = await self._source(operation, make_context())
        if isinstance(source, ExecutionResult):
            yield source
            return
        async for event in source:
            yield self.noted(await self.execute(operation, make_context(), event=event))

    async def _source(
        self, operation: Operation, context: Context
    ) -> AsyncIterable[object] | ExecutionResult:
        """The events of a subscription, or why there are none."""
        executor = Executor.build(
            self._schema,
            operation.definition.document,
            context_value=context,
            raw_variable_values=operation.variables,
            operation_name=operation.name,
        )
        if isinstance(executor, list):
            return ExecutionResult(None, executor)
        source = create_source_event_stream(executor)
        if isawaitable(source):
            source = await source
        return self.noted(source) if isinstance(source, ExecutionResult) else source

    async def execute(
        self, operation: Operation, context: Context, *, event: object = None
    ) -> ExecutionResult:
        """What a query or a mutation answers, or a subscription to an event.

        Bugs are in its errors: `noted` writes them down.
        """
        definition, variables, values = operation
        if context.viewer and not definition.plan:
            self._count(definition)
        result = (
            definition.plan.execute(context, variables, values)
            if definition.plan
            else execute(
                self._schema,
                definition.document,
                event,
                variable_values=variables,
                context_value=context,
                operation_name=definition.name,
            )
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        if context.has_begun and not context.viewer:
            self._count(definition)
        return result

    def noted(self, result: ExecutionResult) -> ExecutionResult:
        """A result that is going to be answered: the bugs in it are in the log."""
        if result.errors:
            self._failures.log(result.errors)
        return result

    def _count(self, definition: Definition) -> None:
        """Counts a use by a live session: often enough, and the operation is worth a plan."""
        definition.uses += 1
        if definition.uses == self._compile_after:
            definition.plan = plan_of(self._schema, definition)


def plan_of(schema: GraphQLSchema, definition: Definition) -> Plan | None:
    """The plan of an operation; None if it cannot be compiled, or would take too much memory."""
    plan = compile_operation(schema, definition.document, definition.node, as_is=AS_IS)
    return plan if plan and plan.size <= definition.room else None


def make_schema() -> strawberry.Schema:
    """The schema as it is served."""
    schema = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription)
    tell_one_of(core(schema))
    return schema


def core(schema: strawberry.Schema) -> GraphQLSchema:
    """Graphql-core's form of a schema."""
    return schema._schema  # noqa: SLF001 - Strawberry's only way to it


def tell_one_of(schema: GraphQLSchema) -> None:
    """Tells graphql-core which input objects are @oneOf, which Strawberry keeps to itself.

    So literals and variables are judged before anything is executed. And `__Type.isOneOf` is null
    where a type is no input object; Strawberry's resolver fails for lists and non-null types.
    """
    for of in filter(is_input_object_type, schema.type_map.values()):
        of.is_one_of = bool(of.extensions["strawberry-definition"].is_one_of)

    def resolve(of: GraphQLType, _: GraphQLResolveInfo[Any]) -> bool | None:
        return of.is_one_of if is_input_object_type(of) else None

    kind: Any = schema.type_map["__Type"]
    kind.fields["isOneOf"].resolve = resolve


def told(error: GraphQLError) -> dict[str, object]:
    """An execution error as a client reads it; a bug tells nothing of itself."""
    shown = documents.formatted(error)
    original = error.original_error
    refused = as_refused(original)
    if refused:
        return shown | {"message": refused.message, "extensions": refused.extensions}
    if original is None or isinstance(original, GraphQLError):
        mended = {"code": "BAD_USER_INPUT", "hint": VALUES_HINT} | (error.extensions or {})
        return shown | {"extensions": mended}
    failed = internal_error()
    return shown | {"message": failed.message, "extensions": failed.extensions}


def payload_of(result: ExecutionResult) -> dict[str, object]:
    """A result as a client reads it."""
    payload: dict[str, object] = {"data": result.data}
    if result.errors:
        payload["errors"] = [told(error) for error in result.errors[: documents.MAX_ERRORS]]
    return payload


def is_empty(result: ExecutionResult) -> bool:
    """Whether errors left nothing of the data."""
    values = (result.data or {}).values()
    return bool(result.errors) and all(value is None for value in values)
