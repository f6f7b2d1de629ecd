"""An operation under one choice of the variables in its directives, and how it is executed."""

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import CoroutineType
from typing import Any, NoReturn

from graphql import (
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    VariableValues,
    default_field_resolver,
    default_type_resolver,
)
from graphql.pyutils import AwaitableOrValue, Path, is_awaitable

from compiler.careful import NOT_SURE, Careful, given, sure
from compiler.resolvers import NO_VALUES, call_of
from compiler.selections import Collector, NotKnown, Selected
from compiler.values import AsIs

Result = AwaitableOrValue[ExecutionResult]
Execute = Callable[[object, VariableValues], Result]
Informed = Callable[[object, VariableValues], GraphQLResolveInfo[Any]]


class Shape:
    """The fields of an operation; size: how many they are, with those below them."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: list[FragmentDefinitionNode],
        choice: dict[str, bool],
        as_is: AsIs,
    ) -> None:
        """Raises NotKnown. choice: a value for each variable that stands in a directive."""
        kind = schema.get_root_type(operation.operation)
        if kind is None:
            raise NotKnown
        self._kind: GraphQLObjectType = kind
        self.schema, self._operation = schema, operation
        self._fragments = {fragment.name.value: fragment for fragment in fragments}
        collector = Collector(
            schema, self._fragments, operation, VariableValues({}, {**choice}), as_is
        )
        self._fields = collector.root(kind)
        self.size = collector.size
        self.execute: Execute = self._alone() or self.execute_carefully

    def execute_carefully(
        self, context: object, values: VariableValues, outcome: Callable[[], Any] | None = None
    ) -> Result:
        """As graphql-core does; outcome: that of the only root field's resolver, if it was called.

        It returns what the resolver returned, or raises what it raised.
        """
        executor = self._executor(context, values, outcome)
        serially = self._operation.operation is OperationType.MUTATION
        return executor.run(self._kind, self._fields, serially=serially)

    def _executor(
        self, context: object, values: VariableValues, outcome: Callable[[], Any] | None = None
    ) -> Careful:
        return Careful(
            self.schema,
            self._fragments,
            {},  # all is collected
            None,
            context,
            self._operation,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            middleware_manager=given(outcome) if outcome else None,
        )

    def _alone(self) -> Execute | None:
        """Executes by a table, if there is one root field, and the table knows all of it."""
        if len(self._fields) != 1:
            return None
        [(key, field)] = self._fields.items()
        if not field.table or not field.definition.resolve or field.attribute:
            return None
        return Alone(self, key, field, self._informed(key, field)).execute

    def _informed(self, key: str, field: Selected) -> Informed:
        """Makes the info of a root field. It is whole: a resolver may ask it for anything."""
        names = (field[0].node.name.value, [details.node for details in field])
        place = (field.definition.type, self._kind, Path(None, key, self._kind.name))
        head = (*names, *place, self.schema, self._fragments, None, self._operation)
        tail = (is_awaitable, None, self._executor(None, NO_VALUES).async_helpers)

        def info(context: object, values: VariableValues) -> GraphQLResolveInfo[Any]:
            # Half the time of calling the class with fourteen arguments.
            return tuple.__new__(GraphQLResolveInfo, (*head, values, context, *tail))

        return info


class Alone:
    """The only root field of an operation."""

    __slots__ = ("_call", "_informed", "_key", "_shape", "_table")

    def __init__(self, shape: Shape, key: str, field: Selected, informed: Informed) -> None:
        self._shape, self._key, self._informed = shape, key, informed
        self._table, self._call = field.table, call_of(field, shape.schema)

    def execute(self, context: object, values: VariableValues) -> Result:
        """Calls the resolver, once."""
        try:
            result = self._call(self._informed(context, values), values)
        except Exception as error:  # noqa: BLE001 - as graphql-core
            return self._shape.execute_carefully(context, values, raising(error))
        if type(result) is CoroutineType:
            return self._awaited(context, values, result)
        return self._completed(context, values, result)

    async def _awaited(
        self, context: object, values: VariableValues, coming: Awaitable[Any]
    ) -> ExecutionResult:
        try:
            result = await coming
        except Exception as error:  # noqa: BLE001 - as graphql-core
            told = self._shape.execute_carefully(context, values, raising(error))
        else:
            completed = sure(self._table, result)
            if completed is not NOT_SURE:
                return ExecutionResult({self._key: completed})
            told = self._shape.execute_carefully(context, values, lambda: awaited(result))
        return await told if isawaitable(told) else told

    def _completed(self, context: object, values: VariableValues, result: Any) -> Result:
        completed = sure(self._table, result)
        if completed is NOT_SURE:
            return self._shape.execute_carefully(context, values, lambda: result)
        return ExecutionResult({self._key: completed})


async def awaited(result: Any) -> Any:
    """What was awaited once, and is not to be awaited again, whatever it is."""
    return result


def raising(error: Exception) -> Callable[[], NoReturn]:
    """Raises again what a resolver raised."""

    def again() -> NoReturn:
        raise error

    return again
