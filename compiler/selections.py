"""The fields of an operation, collected by graphql-core once, with what we know of each."""

from dataclasses import dataclass, field

from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
    is_abstract_type,
    is_object_type,
)
from graphql.execution import VariableValues
from graphql.execution.collect_fields import (
    FieldDetails,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from compiler import values
from compiler.values import DEFINITION, AsIs, Table

TYPENAME = "__typename"
BASIC = "GraphQLCoreConverter.from_resolver.<locals>._get_basic_result"


class NotKnown(Exception):
    """Something in the operation is left to graphql-core."""


class Selected(list[FieldDetails]):
    """The nodes of one response key, as graphql-core lists them, and how to complete the field.

    table: of the field's whole value, where known; attribute: the one that holds it, of an object
    of exactly the class owner, where no resolver is asked; below: the fields of its object type.
    """

    __slots__ = ("attribute", "below", "definition", "owner", "table")

    def __init__(self, details: list[FieldDetails], definition: GraphQLField) -> None:
        super().__init__(details)
        self.definition = definition
        self.table: Table | None = None
        self.attribute: str | None = None
        self.owner: type | None = None
        self.below: GroupedFieldSet = {}


@dataclass
class Collector:
    """Collects under one choice of the variables that stand in directives."""

    schema: GraphQLSchema
    fragments: dict[str, FragmentDefinitionNode]
    operation: OperationDefinitionNode
    choice: VariableValues
    as_is: AsIs = frozenset()
    size: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Fragments as graphql-core wants them."""
        self._details = {name: FragmentDetails(node) for name, node in self.fragments.items()}

    def root(self, kind: GraphQLObjectType) -> dict[str, Selected]:
        """The fields of the operation."""
        found = collect_fields(self.schema, self._details, self.choice, kind, self.operation)
        return self._known(kind, found.grouped_field_set)

    def _known(self, kind: GraphQLObjectType, grouped: GroupedFieldSet) -> dict[str, Selected]:
        return {key: self._selected(kind, details) for key, details in grouped.items()}

    def _selected(self, owner: GraphQLObjectType, details: list[FieldDetails]) -> Selected:
        self.size += 1
        name = details[0].node.name.value
        definition = self.schema.get_field(owner, name)
        if definition is None or (name.startswith("__") and name != TYPENAME):
            raise NotKnown
        selected = Selected(details, definition)
        kind = get_named_type(definition.type)
        if is_abstract_type(kind):
            raise NotKnown
        if is_object_type(kind):
            below = self._below(kind, selected)
            selected.below = {**below}
            selected.table = values.of_type(definition.type, object_table(kind, below), self.as_is)
        else:
            selected.table = values.of_type(definition.type, None, self.as_is)
        find_attribute(selected, owner, name)
        return selected

    def _below(self, kind: GraphQLObjectType, selected: Selected) -> dict[str, Selected]:
        found = collect_subfields(
            self.schema, self._details, self.choice, self.operation, kind, selected
        )
        return self._known(kind, found.grouped_field_set)


def find_attribute(selected: Selected, owner: GraphQLObjectType, name: str) -> None:
    """Tells a field the attribute that it is, if it is one; __typename is one of the class."""
    source, definition = (x.extensions.get(DEFINITION) for x in (owner, selected.definition))
    if not isinstance(source, StrawberryObjectDefinition):
        return
    if name == TYPENAME:
        selected.attribute, selected.owner = "__class__", source.origin
        selected.table = {type(source.origin): lambda _: owner.name}
    elif (
        isinstance(definition, StrawberryField)
        and getattr(selected.definition.resolve, "__qualname__", "") == BASIC
        and vars(definition).get("default_resolver") is getattr
        and values.is_plain(source.origin, definition.python_name)
    ):
        selected.attribute, selected.owner = definition.python_name, source.origin


def object_table(kind: GraphQLObjectType, below: dict[str, Selected]) -> Table | None:
    """The table of an object whose selected fields are all attributes of known values."""
    source = kind.extensions.get(DEFINITION)
    if kind.is_type_of or not isinstance(source, StrawberryObjectDefinition):
        return None
    columns = {
        key: (field.attribute, field.table)
        for key, field in below.items()
        if field.attribute and field.table
    }
    return (
        values.of_object(source.origin, columns)
        if columns and columns.keys() == below.keys()
        else None
    )
