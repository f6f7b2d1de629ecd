"""Documents that were parsed, measured and validated, kept for whoever sends them again.

Validating costs 0.9 to 1.5 ms, parsing 0.1; the document alone decides both. So clients that send
the same few documents pay for each once, and a stranger who sends ever new ones pays every time
and pushes nobody's out: what is used most stays.
"""

from dataclasses import dataclass, field

from graphql import DocumentNode, GraphQLSchema, OperationDefinitionNode

from web import documents

CAPACITY = 200_000  # characters of all documents kept; their trees take up to 250 bytes for each


@dataclass(slots=True)
class Prepared:
    """A document that may be executed, and how often it was asked for of late."""

    document: DocumentNode
    uses: int = 0
    operations: dict[str | None, OperationDefinitionNode] = field(default_factory=dict)

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of this name. Raises HttpRefused 422 when that is not clear."""
        found = self.operations.get(name)
        if found is None:
            found = self.operations[name] = documents.operation(self.document, name)
        return found


class PreparedDocuments:
    """The documents of one schema, by their text."""

    def __init__(
        self, schema: GraphQLSchema, *, introspection: bool, capacity: int = CAPACITY
    ) -> None:
        self._schema = schema
        self._introspection = introspection
        self._capacity = capacity
        self._kept: dict[str, Prepared] = {}
        self._size = 0  # characters

    def __len__(self) -> int:
        return len(self._kept)

    def prepare(self, query: str) -> Prepared:
        """A document that may be executed. Raises HttpRefused as documents.prepare does."""
        found = self._kept.get(query)
        if found is None:
            document = documents.prepare(query, self._schema, introspection=self._introspection)
            found = Prepared(document)
            self._keep(query, found)
        found.uses += 1
        return found

    def _keep(self, query: str, prepared: Prepared) -> None:
        if self._size + len(query) > self._capacity:
            self._forget_half()
        if self._size + len(query) <= self._capacity:
            self._kept[query] = prepared
            self._size += len(query)

    def _forget_half(self) -> None:
        """Drops the half that was used less; of the rest every use counts half from now on."""
        by_use = sorted(self._kept.items(), key=lambda kept: kept[1].uses, reverse=True)
        self._kept = dict(by_use[: len(by_use) // 2])
        self._size = sum(map(len, self._kept))
        for prepared in self._kept.values():
            prepared.uses //= 2
