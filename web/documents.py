"""GraphQL documents from strangers: parsed, measured, validated before anything is executed.

The measure comes before validation, because validating is what costs. It counts every fragment
once and multiplies, so that a document whose spreads unfold to 2^40 fields costs no more than its
text. No document may hold the event loop for more than 100 ms, in validation or in execution.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Node,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from compiler.plan import walk
from web.refusals import HttpRefused

MAX_TOKENS = 1000
MAX_DEPTH = 20  # the longest introspection has 15
MAX_FIELDS = 300  # with every fragment unfolded; the longest introspection has 230
MAX_ROOT_FIELDS = 20
MAX_ALIASES = 30
MAX_DIRECTIVES = 30
MAX_FRAGMENTS = 30
MAX_OPERATIONS = 10
MAX_ERRORS = 10
MAX_MESSAGE = 300  # characters: graphql-core quotes names and values of any length
ONCE = "createSession"  # or one request could fill the database
HIDDEN = re.compile(r"[\x00\ud800-\udfff]")  # NUL and lone surrogates

# Lists of the schema's own description. Under aliases they multiply each other, and nobody needs
# that: without, the widest answer about a schema is not much longer than the usual one.
INTROSPECTION = frozenset(
    {"__schema", "types", "directives", "fields", "inputFields", "args", "enumValues"}
    | {"interfaces", "possibleTypes"}
)

# graphql-core compares fields of one name pair by pair. Its own budget lasts for half a second;
# this one for a few milliseconds, and for more than forty repetitions of one field.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 2_000
BUDGET_SPENT = "Validation aborted."


@dataclass(frozen=True)
class Size:
    """How deep a selection goes and how many fields it has, fragments unfolded."""

    depth: int
    fields: int


def prepare(query: str, schema: GraphQLSchema, *, introspection: bool) -> DocumentNode:
    """A document that may be executed. Raises HttpRefused (400 unparsable, 422 everything else).

    introspection: whether the schema may be asked for, by its fields or by errors that suggest.
    """
    document = parsed(query)
    try:
        measure(document)
        refuse_hidden_characters(document)
        errors = validate(
            schema,
            document,
            specified_rules
            if introspection
            else (*specified_rules, NoSchemaIntrospectionCustomRule),
            max_errors=MAX_ERRORS,
            hide_suggestions=not introspection,
        )
    except RecursionError:
        raise too_complex("values nested too deeply") from None
    if any(error.message == BUDGET_SPENT for error in errors):
        raise too_complex("too many fields of one name")
    if errors:
        raise invalid(errors[:MAX_ERRORS])
    return document


def parsed(query: str) -> DocumentNode:
    """The document's tree."""
    try:
        query.encode()  # a lone surrogate is no character, so it can be in no document
        return without_circles(parse(query, max_tokens=MAX_TOKENS))
    except UnicodeEncodeError:
        raise unparsable(GraphQLError("A character is no Unicode character.")) from None
    except GraphQLSyntaxError as error:
        if error.message.endswith("Parsing aborted."):  # nothing is wrong with it so far
            raise too_complex(f"more than {MAX_TOKENS} tokens, or too many in each other") from None
        raise unparsable(error) from None


def without_circles(document: DocumentNode) -> DocumentNode:
    """The tree, whose tokens lead no longer from one to the next and back.

    Nobody asks them to. In a circle, a document that is kept no longer would stay until the garbage
    collector looks at everything, which it seldom does: strangers could fill the memory meanwhile.
    """
    token = document.loc and document.loc.start_token
    while token:
        following = token.next
        token.prev = token.next = None
        token = following
    return document


def operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation to execute. Raises HttpRefused 422 when that is not clear."""
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    chosen = [d for d in operations if name is None or (d.name and d.name.value == name)]
    if len(chosen) == 1:
        return chosen[0]
    if name is not None:
        message = "The document has no operation of this operationName."
    elif operations:
        message = "The document has several operations, so operationName must name one."
    else:
        message = "The document has no operation."
    raise HttpRefused(422, "BAD_USER_INPUT", message, "Send operationName with the query")


def measure(document: DocumentNode) -> None:
    """Raises HttpRefused when a document is larger than any client needs."""
    Measure(document).check()


class Measure:
    """The sizes of one document's operations and fragments, each worked out once."""

    def __init__(self, document: DocumentNode) -> None:
        self._definitions = document.definitions
        self._sizes: dict[str, Size | None] = {}  # None while being worked out: a cycle

    @cached_property
    def fragments(self) -> dict[str, FragmentDefinitionNode]:
        """By name; which of two of one name counts does not matter: validation refuses both."""
        return {d.name.value: d for d in self._definitions if isinstance(d, FragmentDefinitionNode)}

    def check(self) -> None:
        """Compares with every limit."""
        nodes = [node for definition in self._definitions for node in walk(definition)]
        fields = [node for node in nodes if isinstance(node, FieldNode)]
        limit(
            MAX_FRAGMENTS,
            sum(isinstance(d, FragmentDefinitionNode) for d in self._definitions),
            "fragments",
        )
        limit(
            MAX_OPERATIONS,
            sum(isinstance(d, OperationDefinitionNode) for d in self._definitions),
            "operations",
        )
        aliased = [field for field in fields if field.alias]
        limit(MAX_ALIASES, len(aliased), "aliases")
        limit(0, sum(f.name.value in INTROSPECTION for f in aliased), "aliases of schema lists")
        limit(
            MAX_DIRECTIVES,
            sum(len(getattr(node, "directives", ()) or ()) for node in nodes),
            "directives",
        )
        limit(1, sum(field.name.value == ONCE for field in fields), f"{ONCE} fields")
        for definition in self._definitions:
            selections = getattr(definition, "selection_set", None)
            if isinstance(selections, SelectionSetNode):
                size = self.size(selections)
                limit(MAX_DEPTH, size.depth, "levels of fields")
                limit(MAX_FIELDS, size.fields, "fields, with every fragment unfolded")
            if isinstance(definition, OperationDefinitionNode):
                limit(MAX_ROOT_FIELDS, self.width(definition.selection_set), "root fields")

    def size(self, selections: SelectionSetNode) -> Size:
        """A selection's depth and number of fields."""
        depth = fields = 0
        for selection in selections.selections:
            part = self._size_of(selection)
            depth, fields = max(depth, part.depth), fields + part.fields
        return Size(depth, fields)

    def _size_of(self, selection: Node) -> Size:
        if isinstance(selection, FragmentSpreadNode):
            return self._size_of_fragment(selection.name.value)
        if isinstance(selection, InlineFragmentNode):
            return self.size(selection.selection_set)
        inner = getattr(selection, "selection_set", None)
        below = self.size(inner) if inner else Size(0, 0)
        return Size(below.depth + 1, below.fields + 1)

    def _size_of_fragment(self, name: str) -> Size:
        if name not in self.fragments:
            return Size(0, 1)  # validation will say so
        if name not in self._sizes:
            self._sizes[name] = None
            self._sizes[name] = self.size(self.fragments[name].selection_set)
        size = self._sizes[name]
        if size is None:
            raise invalid([GraphQLError("A fragment spreads itself, in a circle.")])
        return size

    def width(self, selections: SelectionSetNode) -> int:
        """The number of fields at the top of a selection, whose size is known to be small."""
        total = 0
        for selection in selections.selections:
            if isinstance(selection, FragmentSpreadNode):
                fragment = self.fragments.get(selection.name.value)
                total += self.width(fragment.selection_set) if fragment else 1
            elif isinstance(selection, InlineFragmentNode):
                total += self.width(selection.selection_set)
            else:
                total += 1
        return total


def limit(most: int, found: int, what: str) -> None:
    """Raises HttpRefused when more were found than are allowed."""
    if found > most:
        raise too_complex(f"more than {most} {what}")


def too_complex(what: str) -> HttpRefused:
    """422 for a document over a limit."""
    return HttpRefused(
        422, "QUERY_TOO_COMPLEX", f"The document has {what}.", "Send smaller documents, or several"
    )


def unparsable(error: GraphQLError) -> HttpRefused:
    """400 for a document that is no GraphQL."""
    return refusal(400, "GRAPHQL_PARSE_FAILED", [error], "Send a document in GraphQL's syntax")


def invalid(errors: list[GraphQLError]) -> HttpRefused:
    """422 for a document that this schema does not understand."""
    hint = "Send a document that suits the server's schema"
    return refusal(422, "GRAPHQL_VALIDATION_FAILED", errors, hint)


def refusal(status: int, code: str, errors: list[GraphQLError], hint: str) -> HttpRefused:
    """What graphql-core found, one error or several, each with the code and the hint."""
    told = {"extensions": {"code": code, "hint": hint}}
    shown = [formatted(error) | told for error in errors]
    return HttpRefused(status, code, errors[0].message, hint, errors=shown)


def formatted(error: GraphQLError) -> dict[str, object]:
    """An error as a client reads it; a long message is cut."""
    message = error.message
    cut = f"{message[:MAX_MESSAGE]}…" if len(message) > MAX_MESSAGE else message
    return {**error.formatted, "message": cut}


def refuse_hidden_characters(document: DocumentNode) -> None:
    """Raises HttpRefused 422 for a NUL in a string: PostgreSQL's text holds none."""
    for definition in document.definitions:
        for node in walk(definition):
            if isinstance(node, StringValueNode) and "\x00" in node.value:
                raise hidden_character("a literal")


def refuse_hidden_in(value: object, where: str) -> None:
    """Raises HttpRefused 422 for a NUL or a lone surrogate anywhere in a JSON value."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += item.keys()
            rest += item.values()
        elif isinstance(item, list):
            rest += item
        elif isinstance(item, str) and HIDDEN.search(item):
            raise hidden_character(where)


def hidden_character(where: str) -> HttpRefused:
    """422 for a character that no text has."""
    return HttpRefused(
        422,
        "BAD_USER_INPUT",
        f"There is a NUL or a lone surrogate in {where}.",
        "Send text in well-formed Unicode, without \\u0000",
    )
