#!/bin/sh
# Makes the virtual environment with a Python that this project runs on. A name on PATH proves
# nothing (it may be a version manager's empty shim), so every candidate is asked.
set -eu
venv=$1

suits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$python" -c "$suits" >/dev/null 2>&1; then
        if "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            echo "Making $venv with $("$python" --version) …"
            rm -rf "$venv"
            trap 'exit 1' HUP INT TERM
            trap 'rm -rf "$venv"' EXIT # half of one would be taken for a whole one
            "$python" -m venv "$venv"
            trap - EXIT
            exit 0
        fi
        without_venv=$python
    fi
done

if [ -n "${without_venv:-}" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "Python $version is here, but its venv module is not. On Debian or Ubuntu:" >&2
    echo "  sudo apt-get install python$version-venv" >&2
else
    echo "This needs Python 3.11, 3.12, 3.13 or 3.14 on PATH. For example:" >&2
    echo "  Debian, Ubuntu:  sudo apt-get install python3 python3-venv" >&2
    echo "  Fedora:          sudo dnf install python3.13" >&2
    echo "  macOS:           brew install python@3.13" >&2
fi
exit 1
