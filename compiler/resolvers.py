"""How the resolver of a root field is called: directly, where Strawberry's wrapper adds nothing."""

from collections.abc import Callable
from enum import Enum
from types import NoneType
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLInputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    VariableNode,
    VariableValues,
    get_argument_values,
    get_nullable_type,
    is_scalar_type,
    is_specified_scalar_type,
)
from strawberry import Schema
from strawberry.types.arguments import StrawberryArgument, convert_arguments
from strawberry.types.base import StrawberryMaybe
from strawberry.types.field import StrawberryField

from compiler.selections import Selected
from compiler.values import DEFINITION

Call = Callable[[GraphQLResolveInfo[Any], VariableValues], Any]
Arguments = Callable[[VariableValues], dict[str, Any]]

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
        return direct(field, arguments_of(selected, field, schema), schema)
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


def arguments_of(selected: Selected, field: StrawberryField, schema: Schema) -> Arguments:
    """The arguments as the resolver wants them; where all executions may share them, worked out."""
    definition, node = selected.definition, selected[0].node
    registry, config = schema.schema_converter.scalar_registry, schema.config
    names = {config.name_converter.from_argument(each): each for each in field.arguments}
    plain = all(is_plain(definition.args[name].type, each) for name, each in names.items())

    def arguments(values: VariableValues) -> dict[str, Any]:
        given = get_argument_values(definition, node, values)
        if plain:  # Strawberry takes 5 µs to find that out
            return {names[name].python_name: value for name, value in given.items()}
        return convert_arguments(given, field.arguments, registry, config)

    if any(isinstance(argument.value, CHANGING) for argument in node.arguments or ()):
        return arguments
    try:
        constant = arguments(NO_VALUES)
    except GraphQLError:
        return arguments  # told, with its place, when it is executed
    unchanging = all(isinstance(value, UNCHANGING) for value in constant.values())
    return (lambda _: constant) if unchanging else arguments


def is_plain(kind: GraphQLInputType, argument: StrawberryArgument) -> bool:
    """Whether Strawberry gives an argument to the resolver as graphql-core has read it."""
    scalar = get_nullable_type(kind)
    is_wrapped = isinstance(argument.type, StrawberryMaybe)
    return is_scalar_type(scalar) and is_specified_scalar_type(scalar) and not is_wrapped


def direct(field: StrawberryField, arguments: Arguments, schema: Schema) -> Call:
    """The resolver itself, with a root's source (none), Strawberry's Info and the arguments."""
    resolver: Any = field.base_resolver
    function, info_class = resolver.wrapped_func, schema.config.info_class
    source = [None] if resolver.self_parameter else []
    parents = (resolver.root_parameter, resolver.parent_parameter)
    none: dict[str, Any] = {parameter.name: None for parameter in parents if parameter}
    wants_info = resolver.info_parameter and resolver.info_parameter.name

    def call(info: GraphQLResolveInfo[Any], values: VariableValues) -> Any:
        given = none | arguments(values)
        if wants_info:
            given[wants_info] = info_class(_raw_info=info, _field=field)
        return function(*source, **given)

    return call
