"""The documents say what is true now."""

import re
from enum import Enum
from pathlib import Path

import pytest

from settings import ROOT, Settings

TABLE = re.findall(
    r"^\| `(\w+)` \| ?(.*?) ?\|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
)
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_table_of_settings_has_every_setting_once() -> None:
    assert sorted(name for name, _ in TABLE) == sorted(Settings.model_fields)


@pytest.mark.parametrize(("name", "shown"), TABLE)
def test_the_table_shows_the_default(name: str, shown: str) -> None:
    default = Settings.model_fields[name].default
    if default in {None, ""} or default == ():
        assert not re.search(r"\d", shown)
    elif isinstance(default, Enum):
        assert shown == default.value
    elif isinstance(default, bool):
        assert shown == str(int(default))
    elif isinstance(default, float):
        assert float(shown) == default
    else:
        assert shown == str(default)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_test_that_the_checklist_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text()))
    written = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    files = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    assert len(named) > 20
    assert sorted(n for n in named - files if f"def {n}(" not in written) == []
