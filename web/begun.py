"""Work that is begun before it is waited for, without the cost of a task."""

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine that has run until it had to wait, or to its end.

    A request's body is nearly always there: so what is in it can be known before the door asks the
    database, and needs no timer of its own. Whatever it raises is raised where it is awaited.
    """

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._error: Exception | None = None
        self.value: T | None = None  # None also as long as it is not done
        self._is_done = True
        try:
            self._waits_for = work.send(None)
            self._is_done = False
        except StopIteration as end:
            self.value = end.value
        except Exception as error:  # noqa: BLE001 - for whoever awaits it
            self._error = error

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self._is_done

    async def rest(self) -> T:
        """Its result, after what is left of it; to be awaited once."""
        if self._error:
            raise self._error
        if not self._is_done:
            self.value = await _resumed(self._work, self._waits_for)
        return self.value  # type: ignore[return-value] # it is done


@coroutine
def _resumed(work: Coroutine[Any, Any, T], waits_for: object) -> Generator[Any, Any, T]:
    """Goes on as the work's own `await` would; what it waits for may fail or be called off."""
    go_on: Callable[[], object]
    while True:
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001 - it is the work's
            go_on = partial(work.throw, error)
        else:
            go_on = partial(work.send, None)
        try:
            waits_for = go_on()
        except StopIteration as end:
            return cast("T", end.value)
