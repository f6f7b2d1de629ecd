"""What completes the values that a field may have, told by their exact Python types.

A table knows only types whose completion is sure: it has no side effect and one result. Anything
else (an awaitable, an exception as a value, a subclass, None where it must not be) raises here,
and graphql-core completes the same value from the start: it repeats attribute reads, no resolver.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from types import MemberDescriptorType, NoneType
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
)
from strawberry.schema.types import base_scalars
from strawberry.types.enum import StrawberryEnumDefinition

Convert = Callable[[Any], Any]
AsIs = frozenset[type]
Table = dict[type, Convert | None]  # of a value's exact type; None: the value stays as it is

DEFINITION = "strawberry-definition"  # the extension by which Strawberry marks what it made
MAX_ROWS = 64  # combinations of column types that one selection remembers

BUILT_IN: dict[GraphQLLeafType, Table] = {
    GraphQLString: {str: None},
    GraphQLID: {str: None},
    GraphQLBoolean: {bool: None},
    GraphQLInt: {int: GraphQLInt.coerce_output_value},
    GraphQLFloat: {float: GraphQLFloat.coerce_output_value},
}
STRAWBERRY_SCALARS = (
    base_scalars.DateDefinition,
    base_scalars.DateTimeDefinition,
    base_scalars.TimeDefinition,
    base_scalars.DecimalDefinition,
    base_scalars.UUIDDefinition,
)


def of_type(
    kind: GraphQLOutputType, objects: Table | None, as_is: AsIs = frozenset()
) -> Table | None:
    """The table of a field's type; objects: that of the object type in it. None: not known.

    as_is: types whose values stay, because whoever writes the result writes them the same way.
    """
    if isinstance(kind, GraphQLNonNull):
        return not_null(kind.of_type, objects, as_is)
    inner = not_null(kind, objects, as_is)
    return {NoneType: None, **inner} if inner else None


def not_null(kind: GraphQLOutputType, objects: Table | None, as_is: AsIs) -> Table | None:
    """The table of a type without null."""
    if isinstance(kind, GraphQLObjectType):
        return objects
    if not isinstance(kind, GraphQLList):
        return of_leaf(kind, as_is)
    inner = of_type(kind.of_type, objects, as_is)
    if inner is None:
        return None
    convert = many(inner)
    return {list: convert, tuple: convert}


def of_leaf(kind: Any, as_is: AsIs) -> Table | None:
    """The table of a scalar or an enum; a scalar of our own may do whatever it likes: None."""
    definition = (kind.extensions or {}).get(DEFINITION)
    for known in STRAWBERRY_SCALARS:
        if definition is known and isinstance(known.origin, type):
            return {known.origin: None if known.origin in as_is else kind.coerce_output_value}
    if isinstance(kind, GraphQLEnumType) and isinstance(definition, StrawberryEnumDefinition):
        return of_enum(kind, definition.wrapped_cls)
    return BUILT_IN.get(kind)


def of_enum(kind: GraphQLEnumType, members: Any) -> Table:
    """Names of the members of an enum."""
    names = {member: kind.coerce_output_value(member) for member in members}
    if all(member.name == name for member, name in names.items()):
        return {members: attrgetter("_name_")}  # a look-up would call Python, to hash the member
    return {members: names.__getitem__}


def many(inner: Table) -> Convert:
    """Completes a list."""

    def convert(values: Sequence[Any]) -> list[Any]:
        return [value if (one := inner[type(value)]) is None else one(value) for value in values]

    return convert


def is_plain(owner: type, name: str) -> bool:
    """Whether reading the attribute of an object of exactly this class runs nobody's code."""
    spaces = [vars(base) for base in owner.__mro__ if base is not object]
    found = [space[name] for space in spaces if name in space]
    return not any("__getattr__" in space or "__getattribute__" in space for space in spaces) and (
        all(isinstance(f, MemberDescriptorType) or not hasattr(f, "__get__") for f in found)
    )


def of_object(origin: type, columns: dict[str, tuple[str, Table]]) -> Table:
    """The table of an object type; columns: an attribute's name and table for each response key.

    All attributes are read at once. The tuple of their types then says which must be converted,
    and that is worked out once: rows of one list differ little.
    """
    keys = tuple(columns)
    read = attrgetter(*(name for name, _ in columns.values()))
    tables = [table for _, table in columns.values()]
    one = len(keys) == 1
    seen: dict[tuple[type, ...], list[tuple[str, Convert]]] = {}

    def look(kinds: tuple[type, ...]) -> list[tuple[str, Convert]]:
        found = [(k, table[kind]) for k, table, kind in zip(keys, tables, kinds, strict=True)]
        conversions = [(key, convert) for key, convert in found if convert]
        if len(seen) < MAX_ROWS:
            seen[kinds] = conversions
        return conversions

    def convert(source: Any) -> dict[str, Any]:
        row = (read(source),) if one else read(source)
        kinds = tuple(map(type, row))
        conversions = seen.get(kinds)
        if conversions is None:
            conversions = look(kinds)
        data = dict(zip(keys, row, strict=True))
        for key, change in conversions:
            data[key] = change(data[key])
        return data

    return {origin: convert}
