"""What a User-Agent header tells of the device behind it: for a person to know it again by.

It proves nothing: whoever sends it chooses it.
"""

from dataclasses import dataclass
from functools import lru_cache

from ua_parser import parse
from ua_parser.core import Result

MAX_LENGTH = 512  # characters of a User-Agent that are kept and read; browsers send under 200
DESKTOPS = frozenset({"Windows", "Mac OS X", "Linux", "Chrome OS", "Ubuntu", "Debian", "Fedora"})


@dataclass(frozen=True, slots=True)
class Device:
    """All that is known of a client; none of it is sure."""

    user_agent: str | None = None
    name: str | None = None  # "Firefox"
    os: str | None = None  # "Windows"
    kind: str | None = None  # desktop, mobile, tablet or bot


UNKNOWN = Device()


def recognise(user_agent: str | None) -> Device:
    """The device behind a User-Agent header. The first call takes a while: it reads the rules."""
    told = user_agent or ""
    if not told.isprintable():
        told = "".join(filter(str.isprintable, told))
    return read(told[:MAX_LENGTH].strip())


@lru_cache(maxsize=1024)
def read(told: str) -> Device:
    """The device that these characters tell of."""
    if not told:
        return UNKNOWN
    found = parse(told)
    return Device(
        user_agent=told,
        name=found.user_agent.family if found.user_agent else None,
        os=found.os.family if found.os else None,
        kind=kind_of(found, told),
    )


def kind_of(found: Result, told: str) -> str | None:
    """Desktop, mobile, tablet, bot, or None where nothing speaks for any."""
    family = found.device.family if found.device else ""
    system = found.os.family if found.os else ""
    if family == "Spider":
        return "bot"
    if family == "iPad" or "Tablet" in told:
        return "tablet"
    if system in {"Android", "iOS"}:
        return "mobile" if system == "iOS" or "Mobile" in told else "tablet"
    return "desktop" if system in DESKTOPS else None
