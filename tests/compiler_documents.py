"""Documents made by chance, of a schema's own types: fragments, directives, aliases, variables."""

import random
import re
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_object_type,
    is_required_argument,
)

# What an argument may be given: literals and variables.
VARIABLES: dict[str, tuple[str, list[Any]]] = {
    "yes": ("Boolean!", [True, False]),
    "no": ("Boolean! = false", [True, False]),
    "perhaps": ("Boolean = true", [True, False, None]),
    "n": ("Int", [None, 0, 7]),
    "m": ("Int! = 5", [1]),
    "text": ('String! = "x\\n{}\\""', ["", 'q"\n{0}%s']),
    "colour": ("Colour! = VERT", ["RED", "BLUE"]),
    "points": ("[Point!] = {x: 1}", [None, [], [{"x": 1, "note": None}]]),
    "id": ("ID!", ["1", 2]),
    "choice": ("Choice", [None, {"name": "n"}, {"point": {"x": 4}}]),
    "born": ("DateTime", [None, "2026-01-02T03:04:05Z"]),
}
ARGUMENTS: dict[str, list[str]] = {
    "text": ["$text", '"é\\"\\n{x}"', '"""block "quoted" {}"""'],
    "n": ["$n", "$m", "3", "null"],
    "many": ["$yes", "true", "false"],
    "includeEnded": ["$yes", "$perhaps", "true", "false"],
    "colour": ["$colour", "BLUE"],
    "points": ["$points", "{x: $m}", "[{x: 1, y: $n}, {x: 2, colour: VERT}]", "null"],
    "items": ["[1, 2]", "3"],
    "IDs": ["[$id, 3]", '"a"', "[]"],
    "choice": ["$choice", '{name: "n"}', "{point: {x: $m}}"],
    "born": ["$born", '"2026-01-02"', "null"],
}
NAMES = ["a", "class", "__init__", "None", "__dict__", "self", "data", "_0", "lambda", "import"]


@dataclass
class Writer:
    """Writes one document."""

    schema: GraphQLSchema
    dice: random.Random
    leave_out: frozenset[str] = frozenset()
    used: set[str] = field(default_factory=set)
    fragments: list[str] = field(default_factory=list)

    def document(self, root: GraphQLObjectType) -> str:
        """An operation that has a few root fields, with its fragments."""
        selection = self.selection(root, 0, most=2)
        declared = ", ".join(f"${name}: {VARIABLES[name][0]}" for name in sorted(self.used))
        kind = "mutation" if root is self.schema.mutation_type else "query"
        head = f"{kind} Name({declared})" if declared else kind
        return "\n".join([f"{head} {selection}", *self.fragments])

    def variables(self) -> dict[str, Any]:
        """Values for what was declared; some with a default have none."""
        return {
            name: self.dice.choice(VARIABLES[name][1])
            for name in sorted(self.used)
            if VARIABLES[name][0] in {"Boolean!", "ID!"} or self.dice.random() < 0.7
        }

    def selection(self, kind: GraphQLObjectType, depth: int, most: int = 4) -> str:
        """Some fields of a type."""
        parts = [self.part(kind, depth) for _ in range(self.dice.randint(1, most))]
        return "{ " + " ".join(parts) + " }"

    def part(self, kind: GraphQLObjectType, depth: int) -> str:
        """A field, or a fragment with fields."""
        chance = self.dice.random()
        if chance < 0.08:
            return f"... {self.directive()} {self.selection(kind, depth)}"
        if chance < 0.16:
            return f"... on {kind.name} {self.directive()} {self.selection(kind, depth)}"
        if chance < 0.26:
            name = f"F{len(self.fragments)}"
            self.fragments.append("")
            place = len(self.fragments) - 1
            body = self.selection(kind, depth)
            self.fragments[place] = f"fragment {name} on {kind.name} {body}"
            return f"...{name} {self.directive()} ...{name}"
        return self.field(kind, depth)

    def field(self, kind: GraphQLObjectType, depth: int) -> str:
        """A field, perhaps under another name."""
        fields = [name for name in kind.fields if name not in self.leave_out]
        shallow = [n for n in fields if not is_object_type(get_named_type(kind.fields[n].type))]
        name = self.dice.choice(["__typename", *(fields if depth < 2 else shallow or fields)])
        alias = f"{self.dice.choice(NAMES)}: " if self.dice.random() < 0.2 else ""
        if name == "__typename":
            return f"{alias}{name} {self.directive()}"
        definition = kind.fields[name]
        below = get_named_type(definition.type)
        selection = self.selection(below, depth + 1) if is_object_type(below) else ""
        return f"{alias}{name}{self.arguments(definition)} {self.directive()} {selection}"

    def arguments(self, definition: GraphQLField) -> str:
        """Some of a field's arguments."""
        given = [
            f"{name}: {self.using(self.dice.choice(ARGUMENTS[name]))}"
            for name, argument in definition.args.items()
            if is_required_argument(argument) or self.dice.random() < 0.3
        ]
        return f"({', '.join(given)})" if given else ""

    def directive(self) -> str:
        """Usually none."""
        if self.dice.random() < 0.85:
            return ""
        what = self.dice.choice(["skip", "include"])
        value = self.using(self.dice.choice(["true", "false", "$yes", "$no", "$perhaps"]))
        return f"@{what}(if: {value})"

    def using(self, value: str) -> str:
        """A literal, whose variables are declared then."""
        self.used.update(re.findall(r"\$(\w+)", value))
        return value
