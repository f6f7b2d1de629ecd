"""Optional inputs: null and absent are one to this contract."""

from typing import TypeVar

import strawberry
from typing_extensions import TypeIs

T = TypeVar("T")


def is_given(value: T | None) -> TypeIs[T]:
    """Whether an optional input was sent."""
    return value is not None and value is not strawberry.UNSET
