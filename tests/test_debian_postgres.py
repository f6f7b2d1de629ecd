"""PostgreSQL 15 and later: the tests of statements and migrations, on Debian's own server too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from settings import ROOT

FILES = (
    "test_create_session.py",
    "test_my_sessions.py",
    "test_revoke_session.py",
    "test_migrations.py",
    "test_cleanup.py",
    "test_door.py",
    "test_shared.py",
    "test_together.py",
)
RUN = """
export TEST_DATABASE_URL="postgresql://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/postgres"
exec "$@" >"$OUTPUT" 2>&1
"""  # after a failure pg_virtualenv prints the server's log, too long to find the reason in
needs_debian = pytest.mark.skipif(
    shutil.which("pg_virtualenv") is None, reason="needs Debian's postgresql"
)


@needs_debian
def test_the_statements_and_migrations_work_on_debians_postgresql(tmp_path: Path) -> None:
    output = tmp_path / "output"
    tests = [f"tests/{name}" for name in FILES]
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        ["pg_virtualenv", "sh", "-c", RUN, "sh", *pytest_run, *tests],
        cwd=ROOT,
        env=os.environ | {"OUTPUT": str(output)},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = output.read_text() if output.exists() else ran.stdout + ran.stderr
    assert ran.returncode == 0, printed[-6000:]
