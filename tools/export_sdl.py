"""Writes schema/schema.graphql, the committed contract; with --check, says whether it is stale."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from web.operations import make_schema

SDL = Path(__file__).resolve().parent.parent / "schema" / "schema.graphql"


def main() -> None:
    """Writes or checks."""
    current = make_schema().as_str() + "\n"
    if "--check" not in sys.argv[1:]:
        SDL.write_text(current)
    elif SDL.read_text() != current:
        sys.exit("schema/schema.graphql is stale; run: .venv/bin/python tools/export_sdl.py")


if __name__ == "__main__":
    main()
