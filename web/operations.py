"""GraphQL operations, however they arrive: prepared, executed, and what went wrong told.

graphql-core executes Strawberry's schema: what Strawberry's own execute adds per request
(extensions, their runner, a context of its own) nobody here uses, and it costs as much again.
"""

from dataclasses import dataclass, field
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLType,
    OperationDefinitionNode,
    execute,
    get_variable_values,
    is_input_object_type,
)

from compiler.plan import Plan, compile_operation
from context import Context
from schema.root import Mutation, Query
from web import documents
from web.failures import Failures
from web.kept import Kept
from web.refusals import as_refused, internal_error

CAPACITY = 200_000  # characters of documents kept; their trees take up to 250 bytes for each
VALUES_HINT = "Send values of the types that the schema and the operation declare"


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A well-formed request: its shape is right, its content is not looked at yet."""

    query: str
    operation_name: str | None
    variables: dict[str, Any]


class Operation:
    """One operation of a document that was parsed, measured and validated."""

    def __init__(self, document: DocumentNode, definition: OperationDefinitionNode) -> None:
        self.document = document
        self.definition = definition
        self.kind = definition.operation  # query, mutation or subscription
        self.name = definition.name.value if definition.name else None
        self.asks_for = plain_root_fields(definition)
        self.uses = 0  # by live sessions
        self.plan: Plan | None = None


def plain_root_fields(definition: OperationDefinitionNode) -> frozenset[str]:
    """The root fields that are surely wanted as they are: without arguments and directives."""
    return frozenset(
        node.name.value
        for node in definition.selection_set.selections
        if isinstance(node, FieldNode) and not (node.arguments or node.directives)
    )


@dataclass(slots=True)
class Prepared:
    """A document that may be executed, with its operations as far as they were asked for."""

    document: DocumentNode
    operations: dict[str | None, Operation] = field(default_factory=dict)

    def operation(self, name: str | None) -> Operation:
        """The operation of this name. Raises HttpRefused 422 when that is not clear."""
        found = self.operations.get(name)
        if found is None:
            definition = documents.operation(self.document, name)
            found = self.operations[name] = Operation(self.document, definition)
        return found


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
            prepared = Prepared(document)
            self._documents.put(sent.query, prepared)
        return prepared.operation(sent.operation_name)

    def check_variables(self, operation: Operation, variables: dict[str, Any]) -> None:
        """Raises HttpRefused 422 unless every variable has a value of its type."""
        if variables:
            documents.refuse_hidden_in(variables, "the variables")
        if not operation.definition.variable_definitions:
            return
        found = get_variable_values(
            self._schema,
            operation.definition.variable_definitions,
            variables,
            max_errors=documents.MAX_ERRORS,
            hide_suggestions=not self._introspection,
        )
        if isinstance(found, list):
            raise documents.refusal(
                422, "BAD_USER_INPUT", found[: documents.MAX_ERRORS], VALUES_HINT
            )

    async def execute(
        self, operation: Operation, variables: dict[str, Any], context: Context
    ) -> ExecutionResult:
        """What a query or a mutation answers; bugs are in its errors, and in the log."""
        plan = operation.plan or self._plan(operation, context)
        result = (
            plan.execute(context, variables)
            if plan
            else execute(
                self._schema,
                operation.document,
                variable_values=variables,
                context_value=context,
                operation_name=operation.name,
            )
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        if result.errors:
            self._failures.log(result.errors)
        return result

    def _plan(self, operation: Operation, context: Context) -> Plan | None:
        """The plan of an operation that live sessions ask for often enough to be worth one."""
        if context.viewer and self._compile_after:
            operation.uses += 1
            if operation.uses == self._compile_after:
                operation.plan = compile_operation(
                    self._schema, operation.document, operation.definition
                )
        return operation.plan


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
