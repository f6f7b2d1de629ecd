"""Memorable names that people did not choose: a guest's user name, a session's label."""

import secrets
import unicodedata
from collections.abc import Collection
from random import SystemRandom

import coolname

MAX_LABEL = 64

coolname.replace_random(SystemRandom())  # one guest's name must not foretell the next one's


def two_words() -> str:
    """A name such as `amber-otter`."""
    return coolname.generate_slug(2)


def label_beside(taken: Collection[str]) -> str:
    """A label that is none of these: a user's live sessions have different generated ones."""
    while (label := two_words()) in taken:
        pass
    return label


def username_candidates() -> list[str]:
    """Names for a guest, best first.

    Two words are the nicest, and there are some 300,000 of them; with four digits there are
    enough for anyone, with eight even under a storm of guests.
    """
    return [
        two_words(),
        f"{two_words()}-{secrets.randbelow(10**4):04}",
        f"{two_words()}-{secrets.randbelow(10**8):08}",
    ]


def clean_label(label: str) -> str | None:
    """A person's own label, trimmed; None when it is no label.

    1 to 64 characters, none of them a control character or a separator of lines.
    """
    trimmed = label.strip()
    if not 1 <= len(trimmed) <= MAX_LABEL or any(map(is_control, trimmed)):
        return None
    return trimmed


def is_control(character: str) -> bool:
    """Unicode's controls, surrogates, line and paragraph separators."""
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
