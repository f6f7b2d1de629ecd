"""What was worked out from something that clients sent, kept for when it is sent again."""

from collections.abc import Callable, Sized
from typing import Generic, TypeVar

K = TypeVar("K", bound=Sized)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by what they were made from, whose sizes together (lengths, mostly) have a bound.

    A stranger who sends ever new things pushes nobody's out: what is used most stays.
    """

    def __init__(self, capacity: int, size_of: Callable[[K], int] = len) -> None:
        self._capacity = capacity  # in the unit of size_of(key)
        self._size_of = size_of
        self._size = 0
        self._values: dict[K, V] = {}
        self._uses: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """What is kept; it counts as one use."""
        found = self._values.get(key)
        if found is not None:
            self._uses[key] += 1
        return found

    def put(self, key: K, value: V) -> None:
        """Keeps one more, unless it alone is too large.

        One that is there already stays as it is: two may work out the same at the same time.
        """
        if key in self._values:
            return
        size = self._size_of(key)
        if self._size + size > self._capacity:
            self._forget_half()
        if self._size + size <= self._capacity:
            self._values[key] = value
            self._uses[key] = 1
            self._size += size

    def _forget_half(self) -> None:
        """Drops the half that was used less; of the rest every use counts half from now on."""
        by_use = sorted(self._uses, key=self._uses.__getitem__, reverse=True)
        stays = by_use[: len(by_use) // 2]
        self._values = {key: self._values[key] for key in stays}
        self._uses = {key: self._uses[key] // 2 for key in stays}
        self._size = sum(map(self._size_of, stays))
