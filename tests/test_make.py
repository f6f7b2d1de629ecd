"""The Makefile, and the environment it makes with what the machine has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from settings import ROOT

TOOLS = ("sh", "make", "rm", "touch", "mkdir", "ln", "cat", "echo")
MAKES_OWN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # of the make that runs these tests


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder to be all of PATH, with the few programs that a bare machine has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


def fake(path: Path, name: str, script: str) -> None:
    """A program of our own on PATH."""
    program = path / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def real_python() -> str:
    """A script that is the Python of these tests."""
    return f'exec {sys.executable} "$@"'


def make_venv(path: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script with these programs alone."""
    return subprocess.run(
        [path / "sh", ROOT / "tools" / "make_venv.sh", tmp_path / "venv"],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def make(clone: Path, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs make in a clone."""
    return subprocess.run(
        ["make", *words],
        cwd=clone,
        env={k: v for k, v in os.environ.items() if k not in MAKES_OWN} | changes,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_python_is_named_with_the_command_that_installs_it(path: Path, tmp_path: Path) -> None:
    """For the systems that people have."""
    done = make_venv(path, tmp_path)
    assert done.returncode == 1
    assert "3.11, 3.12, 3.13 or 3.14" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr
    assert "brew install" in done.stderr


def test_an_old_python_is_not_taken(path: Path, tmp_path: Path) -> None:
    """It answers that it does not suit."""
    fake(path, "python3", 'case "$2" in *version_info*) exit 1;; esac; exit 0')
    done = make_venv(path, tmp_path)
    assert done.returncode == 1
    assert "3.11, 3.12, 3.13 or 3.14" in done.stderr


def test_a_python_without_venv_is_named_with_its_package(path: Path, tmp_path: Path) -> None:
    """As on Debian, where venv is a package of its own."""
    fake(path, "python3", f'case "$2" in *ensurepip*) exit 1;; esac\n{real_python()}')
    done = make_venv(path, tmp_path)
    assert done.returncode == 1
    major, minor = sys.version_info[:2]
    assert f"sudo apt-get install python{major}.{minor}-venv" in done.stderr


def test_a_broken_shim_is_passed_over(path: Path, tmp_path: Path) -> None:
    """A name on PATH proves nothing."""
    fake(path, "python3", "echo 'command not found' >&2; exit 127")
    fake(path, "python3.11", real_python())
    done = make_venv(path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "venv" / "bin" / "pip").exists()


def test_half_an_environment_is_not_left(path: Path, tmp_path: Path) -> None:
    """The next run would take it for a whole one."""
    halfway = 'case "$1" in -m) mkdir -p "$3/bin"; touch "$3/bin/python"; exit 1;; esac'
    fake(path, "python3", f"{halfway}\n{real_python()}")
    assert make_venv(path, tmp_path).returncode != 0
    assert not (tmp_path / "venv").exists()


@pytest.fixture
def pip_says(clone: Path) -> Path:
    """An environment of the clone's own whose pip only notes that it ran; fails where told to."""
    noted = clone / "pip-ran"
    (clone / ".venv").unlink()
    (clone / ".venv" / "bin").mkdir(parents=True)
    fake(
        clone / ".venv" / "bin",
        "python",
        f'case "$*" in *"pip install"*) echo "$*" >> {noted}; exit ${{PIP_EXIT:-0}};; esac',
    )
    return noted


def test_what_is_installed_is_not_installed_again(clone: Path, pip_says: Path) -> None:
    """Stamps tell."""
    for _ in range(2):
        assert make(clone, "migrate").returncode == 0
    assert len(pip_says.read_text().splitlines()) == 1


def test_new_requirements_are_installed(clone: Path, pip_says: Path) -> None:
    """Once more, when a lock file changed."""
    make(clone, "migrate")
    stamp = (clone / ".venv" / ".runtime").stat().st_mtime
    os.utime(clone / "requirements.lock", (stamp + 1, stamp + 1))
    make(clone, "migrate")
    assert len(pip_says.read_text().splitlines()) == 2


def test_a_failed_installation_is_tried_again(clone: Path, pip_says: Path) -> None:
    """It leaves no stamp."""
    assert make(clone, "migrate", PIP_EXIT="1").returncode != 0
    assert make(clone, "migrate").returncode == 0
    assert len(pip_says.read_text().splitlines()) == 2


def test_installations_are_held_to_hashes(clone: Path, pip_says: Path) -> None:
    """Of every package."""
    make(clone, "test")
    assert "--require-hashes" in pip_says.read_text()


@pytest.mark.parametrize("goal", ["serve", "test", "check", "migrate"])
def test_a_dry_run_does_nothing(clone: Path, goal: str) -> None:
    """`make -n` prints the commands."""
    (clone / ".venv").unlink()
    done = make(clone, "-n", goal)
    assert done.returncode == 0, done.stderr
    assert "make_venv.sh" in done.stdout
    assert not (clone / ".venv").exists()
