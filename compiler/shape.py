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
)
from graphql.pyutils import AwaitableOrValue, Path, is_awaitable

from compiler.careful import NOT_SURE, careful, helpers_of, sure
from compiler.resolvers import Call, call_of
from compiler.selections import Collector, NotKnown, Selected
from compiler.values import AsIs

Result = AwaitableOrValue[ExecutionResult]
Execute = Callable[[object, VariableValues, Callable[[], Any]], Result]
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
        self._schema, self._operation = schema, operation
        self._fragments = {fragment.name.value: fragment for fragment in fragments}
        collector = Collector(
            schema, self._fragments, operation, VariableValues({}, {**choice}), as_is
        )
        self._fields = collector.root(kind)
        self.size = collector.size
        self._alone = self._find_alone()

    def execute(self, context: object, values: VariableValues) -> Result:
        """The result of the operation."""
        if self._alone:
            return self._alone.execute(context, values, self.execute_carefully)
        return self.execute_carefully(context, values)

    def execute_carefully(
        self, context: object, values: VariableValues, outcome: Callable[[], Any] | None = None
    ) -> Result:
        """As graphql-core does; outcome: that of the only root field's resolver, if it was called.

        It returns what the resolver returned, or raises what it raised.
        """
        executor = careful(
            self._schema, self._fragments, self._operation, context, values, outcome=outcome
        )
        serially = self._operation.operation is OperationType.MUTATION
        return executor.run(self._kind, self._fields, serially=serially)

    def _find_alone(self) -> "Alone | None":
        """The only root field, if there is one, and a table knows all of it."""
        if len(self._fields) != 1:
            return None
        [(key, field)] = self._fields.items()
        if not field.table or not field.definition.resolve or field.attribute:
            return None
        return Alone(key, field, call_of(field, self._schema), self._informed(key, field))

    def _informed(self, key: str, field: Selected) -> Informed:
        """Makes the info of a root field. It is whole: a resolver may ask it for anything."""
        names = (field[0].node.name.value, [details.node for details in field])
        place = (field.definition.type, self._kind, Path(None, key, self._kind.name))
        head = (*names, *place, self._schema, self._fragments, None, self._operation)
        tail = (is_awaitable, None, helpers_of(self._schema))

        def info(context: object, values: VariableValues) -> GraphQLResolveInfo[Any]:
            # Half the time of calling the class with fourteen arguments.
            return tuple.__new__(GraphQLResolveInfo, (*head, values, context, *tail))

        return info


class Alone:
    """The only root field of an operation.

    carefully: how its shape executes what the table does not know. It is passed and not kept, or
    they were a circle, which only the garbage collector takes apart.
    """

    __slots__ = ("_call", "_informed", "_key", "_table")

    def __init__(self, key: str, field: Selected, call: Call, informed: Informed) -> None:
        self._key, self._table, self._call, self._informed = key, field.table, call, informed

    def execute(self, context: object, values: VariableValues, carefully: Execute) -> Result:
        """Calls the resolver, once."""
        try:
            result = self._call(self._informed(context, values), values)
        except Exception as error:  # noqa: BLE001 - as graphql-core
            return carefully(context, values, raising(error))
        if type(result) is CoroutineType:
            return self._awaited(context, values, result, carefully)
        completed = sure(self._table, result)
        if completed is NOT_SURE:
            return carefully(context, values, lambda: result)
        return ExecutionResult({self._key: completed})

    async def _awaited(
        self,
        context: object,
        values: VariableValues,
        coming: Awaitable[Any],
        carefully: Execute,
    ) -> ExecutionResult:
        try:
            result = await coming
        except Exception as error:  # noqa: BLE001 - as graphql-core
            told = carefully(context, values, raising(error))
        else:
            completed = sure(self._table, result)
            if completed is not NOT_SURE:
                return ExecutionResult({self._key: completed})
            told = carefully(context, values, lambda: awaited(result))
        return await told if isawaitable(told) else told


async def awaited(result: Any) -> Any:
    """What was awaited once, and is not to be awaited again, whatever it is."""
    return result


def raising(error: Exception) -> Callable[[], NoReturn]:
    """Raises again what a resolver raised."""

    def again() -> NoReturn:
        raise error

    return again
