"""The house: who imports whom, and what stands in one place only."""

import ast
import re
from pathlib import Path

import pytest

from settings import ROOT

# A room, and the rooms of ours that it may import; top-level modules are rooms of one file.
MAY_IMPORT = {
    "settings": set(),
    "db": {"db"},
    "auth": {"auth", "db"},
    "live": {"live", "auth", "db"},
    "context": {"auth", "db", "live"},
    "schema.types": set(),
    "resolvers": {"context", "schema", "auth", "db", "live", "resolvers"},
    "schema.root": {"resolvers", "schema"},
    "compiler": {"compiler"},
    "web": {"web", "compiler", "schema", "context", "resolvers", "auth", "db", "live"},
    "background": {"background", "context", "db", "web"},
    "server": {"server", "background", "web", "auth", "db", "settings"},
    "alembic": {"settings", "db"},
}
ROOMS = {name.partition(".")[0] for name in MAY_IMPORT} | {"app"}
FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0].removesuffix(".py") in ROOMS
]


def imports(path: Path) -> set[str]:
    """The full names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def room_of(path: Path) -> str:
    """The room a file stands in."""
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted if dotted in MAY_IMPORT else dotted.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_it_may(path: Path) -> None:
    if room_of(path) == "app":
        return
    ours = {name.partition(".")[0] for name in imports(path)} & ROOMS - {"alembic"}
    assert ours <= MAY_IMPORT.get(room_of(path), set())


def test_schema_types_do_not_import_the_root() -> None:
    assert not {n for n in imports(ROOT / "schema" / "types.py") if n.startswith("schema")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_jwt_and_the_environment_have_one_reader_each(path: Path) -> None:
    text = path.read_text()
    where = str(path.relative_to(ROOT))
    if where not in {"auth/tokens.py", "auth/oidc.py"}:  # ours; those of others
        assert "jwt" not in {name.partition(".")[0] for name in imports(path)}
    if where != "settings.py":
        assert not re.search(r"\bos\.(environ|getenv)\b", text)


def test_live_is_defined_once() -> None:
    definitions = [
        p for p in FILES if re.search(r"revoked_at IS NULL\s+AND s\.expires_at", p.read_text())
    ]
    assert [str(p.relative_to(ROOT)) for p in definitions] == ["db/sessions.py"]


def test_every_statement_about_sessions_names_the_owner() -> None:
    text = (ROOT / "db" / "sessions.py").read_text()
    statements = re.findall(r'text\(f"""(.*?)"""\)', text, re.DOTALL)
    assert len(statements) >= 5
    assert [s for s in statements if ":user_id" not in s] == []


def test_every_init_file_is_empty() -> None:
    inits = [p for p in FILES if p.name == "__init__.py"]
    assert len(inits) >= 6
    assert [p for p in inits if p.read_text()] == []
