"""Passwords: which are refused, and how they are hashed and verified. Pure, and off the event loop.

argon2id with OWASP's parameters (Password Storage Cheat Sheet: 19 MiB, two passes, one lane).
"""

import asyncio
import os
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from auth.errors import RateLimited

T = TypeVar("T")

MIN_LENGTH = 15  # NIST SP 800-63B-4 3.1.1.2: of a password as the only factor
MAX_LENGTH = 256  # characters; longer is an error, never cut
MAX_TYPED = 4 * MAX_LENGTH  # no character is written as more than four; sorting marks is quadratic
OWN = 6  # characters that must be more than the user's name or the product's
PRODUCT = ("bigtwo-sessions", "bigtwosessions", "bigtwo", "big two", "sessions")
COMMON = frozenset(FREQUENCY_LISTS["passwords"])
AT_ONCE = min(4, os.cpu_count() or 1)  # hashes; each takes 19 MiB and a core
WAITING = 64  # hashes that may wait for their turn; more are refused, or all would time out

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def refuse(password: str, *, username: str, min_length: int) -> str | None:
    """Why a password is none, in a sentence for a person; None for a good one."""
    text = normal(password)
    if not min_length <= len(text) <= MAX_LENGTH:
        return f"A password has {min_length} to {MAX_LENGTH} characters."
    if is_common(text.casefold()):
        return (
            "This password is among the first that are tried. Three or four odd words are better."
        )
    if is_little_more_than(text.casefold(), [username.casefold(), *PRODUCT]):
        return "This password is little more than a name that everybody knows."
    return None


def normal(password: str) -> str:
    """A password as it is hashed: the same characters from two keyboards are one (RFC 8265 4.2).

    What is too long to be one stays as it is: it would hold the interpreter for a second.
    """
    return unicodedata.normalize("NFC", password) if len(password) <= MAX_TYPED else password


def is_common(text: str) -> bool:
    """Whether a list of common passwords holds it, whole or without what people add to it."""
    letters = re.sub(r"[\W\d_]+", "", text)
    return any(root(part) in COMMON or len(root(part)) == 1 for part in (text, letters) if part)


def root(text: str) -> str:
    """The shortest text that, repeated and cut off, makes this one: `abc` of `abcabcab`."""
    return next(
        text[:n] for n in range(1, len(text) + 1) if (text[:n] * len(text)).startswith(text)
    )


def is_little_more_than(text: str, names: list[str]) -> bool:
    """Whether hardly a letter or digit is left without these names."""
    for name in names:
        text = text.replace(name, "") if name else text
    return len(re.sub(r"[\W_]+", "", text)) < OWN


class Passwords:
    """Hashes and verifies, so many at once, in threads: argon2 releases the interpreter's lock."""

    def __init__(self, *, min_length: int = MIN_LENGTH) -> None:
        self.min_length = min_length
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._under_way = 0
        # Of no password: an unknown user's guess is verified against this, and takes as long.
        self._nobodys = HASHER.hash(os.urandom(32).hex())

    async def hash(self, password: str) -> str:
        """The hash to store. Raises RateLimited when too many wait."""
        return await self._run(lambda: HASHER.hash(normal(password)))

    async def verify(self, password: str, known: str | None) -> bool:
        """Whether a password is the one of a hash; None, of nobody, costs as much and is not.

        Raises RateLimited when too many wait.
        """
        return await self._run(lambda: is_right(normal(password), known or self._nobodys)) and (
            known is not None
        )

    async def renewed(self, password: str, known: str) -> str | None:
        """The hash to store instead, when the parameters have changed since; None otherwise."""
        return await self.hash(password) if HASHER.check_needs_rehash(known) else None

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._under_way >= AT_ONCE + WAITING:
            raise RateLimited(1)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1


def is_right(password: str, known: str) -> bool:
    """Whether a password has this hash."""
    try:
        return HASHER.verify(known, password)
    except (VerificationError, InvalidHashError):
        return False
