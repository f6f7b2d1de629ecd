"""What was worked out from something that clients sent, kept for when it is sent again."""

from collections.abc import Callable, Sized
from typing import Generic, TypeVar

K = TypeVar("K", bound=Sized)
V = TypeVar("V")


class Entry(Generic[V]):
    """A value and how often it was asked for."""

    __slots__ = ("uses", "value")

    def __init__(self, value: V) -> None:
        self.value = value
        self.uses = 1


class Kept(Generic[K, V]):
    """Values by what they were made from, whose sizes together (lengths, mostly) have a bound.

    A stranger who sends ever new things pushes nobody's out: what is used most stays.
    """

    def __init__(self, capacity: int, size_of: Callable[[K], int] = len) -> None:
        self._capacity = capacity  # in the unit of size_of(key)
        self._size_of = size_of
        self._size = 0
        self._entries: dict[K, Entry[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What is kept; it counts as one use."""
        found = self._entries.get(key)
        if found is None:
            return None
        found.uses += 1
        return found.value

    def put(self, key: K, value: V) -> None:
        """Keeps one more, unless it alone is too large.

        One that is there already stays as it is: two may work out the same at the same time.
        """
        if key in self._entries:
            return
        size = self._size_of(key)
        if self._size + size > self._capacity:
            self._forget_half()
        if self._size + size <= self._capacity:
            self._entries[key] = Entry(value)
            self._size += size

    def _forget_half(self) -> None:
        """Drops the half that was used less; of the rest every use counts half from now on."""
        by_use = sorted(self._entries, key=lambda key: self._entries[key].uses, reverse=True)
        self._entries = {key: self._entries[key] for key in by_use[: len(by_use) // 2]}
        for entry in self._entries.values():
            entry.uses //= 2
        self._size = sum(map(self._size_of, self._entries))
