"""GraphQL operations, however they arrive: prepared, executed, and what went wrong told.

graphql-core executes Strawberry's schema: what Strawberry's own execute adds per request
(extensions, their runner, a context of its own) nobody here uses, and it costs as much again.
"""

from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLType,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_variable_values,
    is_input_object_type,
)

from context import Context
from schema.root import Mutation, Query
from web import documents
from web.failures import Failures
from web.prepared import PreparedDocuments
from web.refusals import as_refused, internal_error

VALUES_HINT = "Send values of the types that the schema and the operation declare"


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A well-formed request: its shape is right, its content is not looked at yet."""

    query: str
    operation_name: str | None
    variables: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that may be executed: parsed, measured, validated, its variables checked."""

    document: DocumentNode
    definition: OperationDefinitionNode
    variables: dict[str, Any]

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.definition.operation


class Operations:
    """Prepares and executes what clients send."""

    def __init__(self, *, introspection: bool) -> None:
        self._schema = core(make_schema())
        self._introspection = introspection
        self._documents = PreparedDocuments(self._schema, introspection=introspection)
        self._failures = Failures()

    def prepare(self, sent: GraphQLRequest) -> Operation:
        """The operation of a request. Raises HttpRefused (400 unparsable, 422 everything else)."""
        prepared = self._documents.prepare(sent.query)
        definition = prepared.operation(sent.operation_name)
        return Operation(prepared.document, definition, sent.variables)

    def check_variables(self, operation: Operation) -> None:
        """Raises HttpRefused 422 unless every variable has a value of its type."""
        if operation.variables:
            documents.refuse_hidden_in(operation.variables, "the variables")
        if not operation.definition.variable_definitions:
            return
        found = get_variable_values(
            self._schema,
            operation.definition.variable_definitions,
            operation.variables,
            max_errors=documents.MAX_ERRORS,
            hide_suggestions=not self._introspection,
        )
        if isinstance(found, list):
            raise documents.refusal(
                422, "BAD_USER_INPUT", found[: documents.MAX_ERRORS], VALUES_HINT
            )

    async def execute(self, operation: Operation, context: Context) -> ExecutionResult:
        """What a query or a mutation answers; bugs are in its errors, and in the log."""
        name = operation.definition.name
        result = execute(
            self._schema,
            operation.document,
            variable_values=operation.variables,
            context_value=context,
            operation_name=name.value if name else None,
        )
        if isawaitable(result):
            result = await result
        self._failures.log(result.errors or ())
        return result


def make_schema() -> strawberry.Schema:
    """The schema as it is served."""
    schema = strawberry.Schema(query=Query, mutation=Mutation)
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
