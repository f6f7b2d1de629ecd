"""Writes the contenders' lock files anew: every package by its hash, and no registry's host.

Run it with the environment's Python; npm is the one of the bench's Node (`make bench` installs it).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import environments

COMPILE = "pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade"
RESOLVE = "install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund"


def lock_python(requirements: Path) -> None:
    """requirements.lock beside a requirements.in."""
    command = [sys.executable, "-m", "uv", *COMPILE.split(), "--python-version=3.11"]
    lock = requirements.with_suffix(".lock")
    subprocess.run([*command, str(requirements), "-o", str(lock)], check=True)  # noqa: S603 - uv


def lock_node(package: Path) -> None:
    """package-lock.json beside a package.json."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / package.name).write_text(package.read_text())
        environments.npm(*RESOLVE.split(), folder=work)
        lock = json.loads((work / "package-lock.json").read_text())
    for member in lock["packages"].values():
        for link in ("funding", "resolved"):
            member.pop(link, None)
    text = json.dumps(lock, indent=2, ensure_ascii=False)
    package.with_name("package-lock.json").write_text(f"{text}\n")


def main() -> None:
    """All of them."""
    for requirements in sorted(environments.CONTENDERS.glob("*/requirements.in")):
        lock_python(requirements)
    environments.install_node()
    for package in sorted(environments.CONTENDERS.glob("*/package.json")):
        lock_node(package)


if __name__ == "__main__":
    main()
