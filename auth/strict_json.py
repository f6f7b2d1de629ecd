"""JSON as RFC 8259 and nothing beside it, for what strangers send."""

import json
from typing import Any, NoReturn

MAX_DEPTH = 500  # arrays and objects in each other


def loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError for what the library would let pass or fall over: other encodings, a byte
    order mark, NaN and Infinity, numbers too large for their type, a name that stands twice in an
    object (two readers may read two things), and nesting that exhausts the stack.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        refuse_deep(value)
    return value


def refuse_deep(value: Any) -> None:
    """Raises ValueError for deep nesting: from Python 3.12 on the library bears 30,000 levels."""
    level = containers([value])
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in containers(one)]
    if level:
        raise ValueError("nested too deeply")


def containers(value: Any) -> list[Any]:
    """The arrays and objects that stand right in one."""
    parts = value.values() if isinstance(value, dict) else value
    return [part for part in parts if isinstance(part, list | dict)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
