"""One validated operation, made ready to be executed often.

Two ways, one result. A root field alone, whose values are all of known types, is completed by
tables (values.py). Everything else runs through graphql-core's executor (careful.py), which uses
the tables where it may. What a resolver did moves from the first way to the second: none is called
twice. What compile_operation declines runs through graphql.execute.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLIncludeDirective,
    GraphQLSchema,
    GraphQLSkipDirective,
    Node,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    VariableValues,
    execute,
    get_variable_values,
)
from graphql.pyutils import AwaitableOrValue

from compiler.resolvers import NO_VALUES
from compiler.selections import NotKnown
from compiler.shape import Shape
from compiler.values import AsIs

MAX_CHOOSING = 3  # variables in directives; each doubles what is compiled
KNOWN_DIRECTIVES = {GraphQLSkipDirective.name, GraphQLIncludeDirective.name}


def compile_operation(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    *,
    as_is: AsIs = frozenset(),
) -> "Plan | None":
    """The plan of a validated operation; None if it holds something that we do not know.

    as_is: types of a scalar's values that whoever writes the result writes as the scalar would
    have; where the tables complete a field, such a value stays what it is.
    """
    try:
        return Plan(schema, document, operation, as_is=as_is)
    except NotKnown:
        return None


class Plan:
    """What an operation does, for each choice of the variables that stand in its directives.

    size: how many fields were compiled, over all choices.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        *,
        as_is: AsIs = frozenset(),
    ) -> None:
        """Raises NotKnown."""
        fragments = [d for d in document.definitions if isinstance(d, FragmentDefinitionNode)]
        self._schema, self._document, self._operation = schema, document, operation
        self._choosing = choosing_variables(schema, operation, fragments)
        self._shapes: dict[tuple[Any, ...], Shape] = {
            choice: Shape(
                schema, operation, fragments, dict(zip(self._choosing, choice, strict=True)), as_is
            )
            for choice in product((False, True), repeat=len(self._choosing))
        }
        self._always = self._shapes.get(()) if not operation.variable_definitions else None
        self.size = sum(shape.size for shape in self._shapes.values())

    def execute(
        self,
        context: object,
        variables: dict[str, Any],
        values: VariableValues | None = None,
    ) -> AwaitableOrValue[ExecutionResult]:
        """The same as graphql.execute's.

        variables: as sent, known to be coercible; values: what they are, where that is known.
        """
        if self._always:
            return self._always.execute(context, NO_VALUES)
        found = values or get_variable_values(
            self._schema, self._operation.variable_definitions or (), variables
        )
        if not isinstance(found, list):
            shape = self._shapes.get(tuple(map(found.coerced.get, self._choosing)))
            if shape:
                return shape.execute(context, found)
        return self._execute_plainly(context, variables)  # null was chosen, or what cannot be

    def _execute_plainly(
        self, context: object, variables: dict[str, Any]
    ) -> AwaitableOrValue[ExecutionResult]:
        name = self._operation.name
        return execute(
            self._schema,
            self._document,
            context_value=context,
            variable_values=variables,
            operation_name=name.value if name else None,
        )


def choosing_variables(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: list[FragmentDefinitionNode],
) -> list[str]:
    """The variables in @skip and @include. Raises NotKnown if there is more to an execution."""
    if (
        operation.operation is OperationType.SUBSCRIPTION
        or schema.get_directive("defer")
        or schema.get_directive("stream")
        or any(fragment.variable_definitions for fragment in fragments)
    ):
        raise NotKnown
    nodes = [node for definition in (operation, *fragments) for node in walk(definition)]
    directives = [node for node in nodes if isinstance(node, DirectiveNode)]
    if not {directive.name.value for directive in directives} <= KNOWN_DIRECTIVES:
        raise NotKnown
    below = [node for directive in directives for node in walk(directive)]
    names = {node.name.value for node in below if isinstance(node, VariableNode)}
    if len(names) > MAX_CHOOSING:
        raise NotKnown
    return sorted(names)


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it; tokens bound their number, the parser their nesting."""
    yield node
    for key in node.keys:
        value = getattr(node, key, None)
        for child in value if isinstance(value, list | tuple) else (value,):
            if isinstance(child, Node):
                yield from walk(child)
