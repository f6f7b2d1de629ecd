"""graphql-core's own executor: for whatever the tables do not know, and for every error.

So nulls, paths, nodes, the order of errors and what runs at the same time are graphql-core's.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, cast

from graphql import (
    ExecutionResult,
    Executor,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    MiddlewareManager,
    OperationDefinitionNode,
    VariableValues,
    default_field_resolver,
    default_type_resolver,
    parse,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList
from graphql.pyutils import AwaitableOrValue, Path
from graphql.type.definition import GraphQLResolveInfoHelpers

from compiler.resolvers import NO_VALUES
from compiler.selections import Selected
from compiler.values import Table

NOT_SURE = object()


class Careful(Executor[Any]):
    """Executes compiled fields; what is sure goes by the tables, on every level anew."""

    def run(
        self, kind: GraphQLObjectType, fields: dict[str, Selected], *, serially: bool
    ) -> AwaitableOrValue[ExecutionResult]:
        """The result of an operation, from its root on."""
        try:
            data = self.execute_root_grouped_field_set(kind, None, {**fields}, serially, None)
        except GraphQLError as error:
            return self._failed(error)
        return self._ended(data) if isinstance(data, dict) else self._awaited(data)

    async def _awaited(self, data: Awaitable[dict[str, Any]]) -> ExecutionResult:
        try:
            return self._ended(await data)
        except GraphQLError as error:
            return self._failed(error)

    def _failed(self, error: GraphQLError) -> ExecutionResult:
        self.collected_errors.add(error, None)
        return self._ended(None)

    def _ended(self, data: dict[str, Any] | None) -> ExecutionResult:
        return ExecutionResult(data, self.collected_errors.errors or None)

    def collect_subfields(
        self, return_type: GraphQLObjectType, field_details_list: FieldDetailsList
    ) -> CollectedFields:
        """What was collected when the operation was compiled."""
        if isinstance(field_details_list, Selected):
            return CollectedFields(field_details_list.below, [], [])
        return super().collect_subfields(return_type, field_details_list)

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """A field that is an attribute is read."""
        field = field_details_list
        if isinstance(field, Selected) and field.attribute and type(source) is field.owner:
            value = getattr(source, field.attribute, NOT_SURE)
            completed = sure(field.table, value)
            if completed is not NOT_SURE:
                return completed
        return super().execute_field(parent_type, source, field, path, position_context)

    def complete_value(  # noqa: PLR0917 - graphql-core's
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """The whole value of a field, not an item of a list, goes by the field's table."""
        field = field_details_list
        if isinstance(field, Selected) and return_type is info.return_type:
            completed = sure(field.table, result)
            if completed is not NOT_SURE:
                return completed
        return super().complete_value(return_type, field, info, path, result, position_context)


def sure(table: Table | None, value: Any) -> Any:
    """A value completed by a table, or NOT_SURE."""
    if table is None:
        return NOT_SURE
    try:
        convert = table[type(value)]
        return convert(value) if convert else value
    except Exception:  # noqa: BLE001 - whatever it is, graphql-core will meet it and tell it
        return NOT_SURE


def given(outcome: Callable[[], Any]) -> MiddlewareManager:
    """Gives graphql-core what came of the only root field's resolver, which was called already."""

    def resolve(
        following: Callable[..., Any], source: Any, info: GraphQLResolveInfo[Any], **arguments: Any
    ) -> Any:
        return following(source, info, **arguments) if info.path.prev else outcome()

    return MiddlewareManager(resolve)


def careful(
    schema: GraphQLSchema,
    fragments: dict[str, FragmentDefinitionNode],
    operation: OperationDefinitionNode,
    context: object,
    values: VariableValues,
    *,
    outcome: Callable[[], Any] | None = None,
) -> Careful:
    """An executor for one execution; outcome: of the only root field's resolver, if called."""
    return Careful(
        schema,
        fragments,
        {},  # all is collected
        None,
        context,
        operation,
        values,
        default_field_resolver,
        default_type_resolver,
        default_field_resolver,
        middleware_manager=given(outcome) if outcome else None,
    )


@lru_cache(maxsize=1)
def helpers_of(schema: GraphQLSchema) -> GraphQLResolveInfoHelpers:
    """What graphql-core gives resolvers for asynchronous work: it keeps nothing of an execution.

    One for all plans, for an executor and its helpers are a circle.
    """
    (operation,) = parse("{ __typename }").definitions
    return careful(
        schema, {}, cast("OperationDefinitionNode", operation), None, NO_VALUES
    ).async_helpers
