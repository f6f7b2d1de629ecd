"""How the resolver of a root field is called: directly, where Strawberry's wrapper adds nothing."""

from collections.abc import Callable
from enum import Enum
from types import NoneType
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    VariableNode,
    VariableValues,
    get_argument_values,
)
from strawberry import Schema
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from compiler.selections import Selected
from compiler.values import DEFINITION

Call = Callable[[GraphQLResolveInfo[Any], VariableValues], Any]

MADE_BY_STRAWBERRY = {
    f"GraphQLCoreConverter.from_resolver.<locals>.{wrapper}"
    for wrapper in ("_resolver", "_async_resolver")
}
CHANGING = (VariableNode, ListValueNode, ObjectValueNode)
UNCHANGING = (str, int, float, bool, NoneType, Enum)
NO_VALUES = VariableValues({}, {})


def call_of(selected: Selected, core: GraphQLSchema) -> Call:
    """What calls a root field's resolver, with its arguments."""
    field = selected.definition.extensions.get(DEFINITION)
    schema: Schema | None = getattr(core, "_strawberry_schema", None)
    if schema and isinstance(field, StrawberryField) and is_bare(selected, field, schema):
        arguments = constant_arguments(selected, field, schema)
        if arguments is not None:
            return direct(field, arguments, schema)
    return wrapped(selected)


def wrapped(selected: Selected) -> Call:
    """The resolver as graphql-core calls it."""
    definition, node = selected.definition, selected[0].node
    resolve: Any = definition.resolve

    def call(info: GraphQLResolveInfo[Any], values: VariableValues) -> Any:
        return resolve(None, info, **get_argument_values(definition, node, values))

    return call


def is_bare(selected: Selected, field: StrawberryField, schema: Schema) -> bool:
    """Whether Strawberry puts nothing around the resolver but arguments and its own Info."""
    return (
        getattr(selected.definition.resolve, "__qualname__", "") in MADE_BY_STRAWBERRY
        and field.base_resolver is not None
        and not field.extensions  # permissions are among them
        and not schema.exception_handlers
    )


def constant_arguments(
    selected: Selected, field: StrawberryField, schema: Schema
) -> dict[str, Any] | None:
    """The arguments as the resolver wants them; None if executions must not share them."""
    node = selected[0].node
    if any(isinstance(argument.value, CHANGING) for argument in node.arguments or ()):
        return None
    try:
        given = get_argument_values(selected.definition, node, NO_VALUES)
        if not all(isinstance(value, UNCHANGING) for value in given.values()):
            return None
        registry = schema.schema_converter.scalar_registry
        return convert_arguments(given, field.arguments, registry, schema.config)
    except GraphQLError:
        return None  # told, with its place, when it is executed


def direct(field: StrawberryField, arguments: dict[str, Any], schema: Schema) -> Call:
    """The resolver itself, with a root's source (none), Strawberry's Info and the arguments."""
    resolver: Any = field.base_resolver
    function, info_class = resolver.wrapped_func, schema.config.info_class
    source = [None] if resolver.self_parameter else []
    parents = (resolver.root_parameter, resolver.parent_parameter)
    arguments = arguments | {parameter.name: None for parameter in parents if parameter}
    wants_info = resolver.info_parameter and resolver.info_parameter.name

    def call(info: GraphQLResolveInfo[Any], _: VariableValues) -> Any:
        if wants_info:
            own = {wants_info: info_class(_raw_info=info, _field=field)}
            return function(*source, **own, **arguments)
        return function(*source, **arguments)

    return call
