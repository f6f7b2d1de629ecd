"""Deletes the embedded database of this clone, for `make clean`. It needs no installed package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from db import embedded


def main() -> None:
    """Deletes, unless a server uses it."""
    try:
        embedded.remove(Path(__file__).resolve().parent.parent / ".state")
    except embedded.EmbeddedError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
