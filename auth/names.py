"""Memorable names that people did not choose: a guest's user name, a session's label."""

import re
import secrets
import unicodedata
from collections.abc import Collection
from random import SystemRandom

import coolname

MAX_LABEL = 64
# ASCII only, unique by lower case: look-alikes of other scripts could stand side by side.
USERNAME = re.compile(r"[A-Za-z0-9._-]{3,64}")
GUESTS_NAME = re.compile(r"[a-z]+-[a-z]+(-[0-9]{4}|-[0-9]{8})?")
RESERVED = frozenset(
    {
        *("admin", "administrator", "root", "system", "operator", "moderator", "owner", "staff"),
        *("support", "help", "info", "contact", "security", "abuse", "postmaster", "webmaster"),
        *("hostmaster", "noreply", "no-reply", "mailer-daemon", "daemon", "nobody", "anonymous"),
        *("guest", "user", "username", "account", "me", "self", "null", "none", "undefined"),
        *("true", "false", "api", "www", "graphql", "session", "sessions", "login", "logout"),
        *("signin", "signup", "register", "password", "bigtwo", "bigtwo-sessions", "test"),
    }
)

coolname.replace_random(SystemRandom())  # one guest's name must not foretell the next one's


def two_words() -> str:
    """A name such as `amber-otter`."""
    return coolname.generate_slug(2)


def label_beside(taken: Collection[str]) -> str:
    """A label that is none of these: a user's live sessions have different generated ones."""
    while (label := two_words()) in taken:
        pass
    return label


def username_candidates() -> tuple[str, ...]:
    """Names for a guest, best first.

    Two words are the nicest, and there are some 300,000 of them; with four digits there are
    enough for anyone, with eight even under a storm of guests.
    """
    words, digits = two_words(), f"{secrets.randbelow(10**8):08}"
    return words, f"{words}-{digits[:4]}", f"{words}-{digits}"


def is_username(name: str) -> bool:
    """Whether a person may choose this name: form, reserved words, and no guest's shape."""
    key = name.lower()
    return bool(USERNAME.fullmatch(name)) and not (
        key in RESERVED or GUESTS_NAME.fullmatch(key) or not any(map(str.isalnum, key))
    )


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
