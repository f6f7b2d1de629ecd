"""The server as a person starts it: real processes, real signals, a real terminal."""

import asyncio
import gc
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from server import logs
from server import run as serving
from settings import Settings
from tests.servers import (
    APP,
    CREATE,
    LIST,
    MAKE,
    PORT_HELD_AT_MOST,
    SECRET,
    SLOW,
    Server,
    Start,
    environment,
    is_alive,
    is_free,
    until,
)


def run(clone: Path, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        command,
        cwd=clone,
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=SLOW,
    )


# What it says


def test_a_pipe_gets_json_lines(start: Start) -> None:
    """Each line is JSON, and one names everything."""
    server = start()
    server.stop()
    said = [json.loads(line) for line in server.said.splitlines()]
    assert said[0]["event"] == "starting"
    assert said[0]["rest"] == f"{server.base}/session"
    assert said[0]["graphql"] == f"{server.base}/graphql"
    assert server.data.name


def on_terminal(clone: Path, seen: str, **changes: str) -> tuple[str, int]:
    """What `make serve` shows on a terminal on which Ctrl-C is typed at a text, and its status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(clone)
        os.execvpe("make", MAKE, environment(**changes))  # noqa: S606 - no shell
    shown, typed = "", False
    deadline = time.monotonic() + SLOW
    with suppress(OSError):  # the terminal is gone: Linux's way to say that all is read
        while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            if not (more := os.read(terminal, 4096)):
                break
            shown += more.decode()
            if seen in shown and not typed:
                typed = bool(os.write(terminal, b"\x03"))
    os.close(terminal)
    return shown, os.waitpid(pid, 0)[1]


def test_a_terminal_gets_a_screen(clone: Path) -> None:
    """It names pages, REST, health and the data folder; Ctrl-C then leaves it without a word."""
    vendor = clone / ".state" / "graphiql"
    vendor.mkdir(parents=True)
    for name in ("graphiql", "react.production", "react-dom.production"):
        (vendor / f"{name}.min.js").touch()
    (vendor / "graphiql.min.css").touch()
    (vendor.parent / "qr").mkdir()
    (vendor.parent / "qr" / "lean-qr.js").touch()
    shown, status = on_terminal(clone, "workers ", GRAPHIQL="1", SESSIONS_PAGE="1")
    base = r"http://127\.0\.0\.1:\d+"
    assert re.search(rf"sessions +{base}/ ", shown)
    assert re.search(rf"GraphiQL +{base}/graphql", shown)
    assert re.search(rf"REST +{base}/session", shown)
    assert re.search(rf"health +{base}/healthz", shown)
    assert re.search(r"data +/\S+", shown)
    assert re.search(r"workers +1\s*\^C\s*$", shown)
    assert os.WTERMSIG(status) == signal.SIGINT  # make's: the shell's loop would end, too


def test_ctrl_c_while_workers_start_is_quiet(clone: Path) -> None:
    """They are importing at that moment."""
    shown, _ = on_terminal(clone, "workers ", WORKERS="3")
    assert re.search(r"workers +3\s*\^C\s*$", shown)


# What it does


@pytest.mark.parametrize("command", [MAKE, APP])
def test_the_main_job(first_start: Start, command: tuple[str, ...]) -> None:
    """Create, list, revoke; then the token is refused although the JWT lives on."""
    server = first_start(command)
    token, session = server.create()
    assert server.gql(LIST, token).json()["data"]["mySessions"] == [
        {"id": session, "isCurrent": True}
    ]
    revoked = server.gql("mutation { revokeSession { status } }", token).json()["data"]
    assert revoked["revokeSession"]["status"] == "REVOKED"
    assert server.gql(LIST, token).status_code == 401


def test_a_session_survives_a_restart(start: Start) -> None:
    """Data and secret are kept."""
    first = start()
    token, _ = first.create()
    first.stop()
    assert start().gql(LIST, token).status_code == 200


def test_the_generated_secret_is_ours_alone(start: Start) -> None:
    """Beside the data, mode 0600."""
    secret = start().data / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.stat().st_uid == os.geteuid()


def test_a_second_server_shares_the_database_and_outlives_the_first(start: Start) -> None:
    """Whoever leaves last stops PostgreSQL."""
    first, second = start(), start()
    token, _ = first.create()
    first.stop()
    assert second.gql(LIST, token).status_code == 200


async def someone_waits(url: str) -> bool:
    """Whether somebody waits for the lock on the table of users."""
    db = await asyncpg.connect(url)
    waiting = await db.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
    )
    await db.close()
    return bool(waiting)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_under_way_is_answered(
    start: Start, database_url: str, tmp_path: Path, workers: str
) -> None:
    """SIGTERM comes while the request waits for a lock in the database."""
    del tmp_path
    server = start(APP, DATABASE_URL=database_url, JWT_SECRET=SECRET, WORKERS=workers)
    hold = (
        "import asyncio, asyncpg, sys\n"
        "async def hold():\n"
        "    db = await asyncpg.connect(sys.argv[1])\n"
        "    async with db.transaction():\n"
        "        await db.execute('LOCK TABLE users')\n"
        "        print('held', flush=True)\n"
        "        sys.stdin.read()\n"
        "asyncio.run(hold())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == b"held\n"
        with closing(socket.create_connection(("127.0.0.1", server.port))) as client:
            client.sendall(b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            until(lambda: asyncio.run(someone_waits(database_url)))
            server.process.send_signal(signal.SIGTERM)
            until(lambda: is_free(server.port))
            holder.stdin.close()
            assert client.makefile("rb").readline() == b"HTTP/1.1 201 Created\r\n"
    assert server.process.wait(SLOW) == 0


async def test_an_answer_does_not_wait_until_the_last_one_has_arrived() -> None:
    """The kernel holds back what is small, unless it is told not to on each connection."""
    told = asyncio.Queue[int]()

    async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        told.put_nowait(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = serving.listen("127.0.0.1", 0)
    async with await asyncio.start_server(look, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await told.get()
        writer.close()
        await writer.wait_closed()


def test_what_a_worker_is_made_of_is_no_longer_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the garbage collector, in the middle of somebody's request."""
    done: list[str] = []
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(gc, "freeze", lambda: done.append("set aside"))

    async def application(*_: object) -> None:
        """Does nothing."""

    def make(_: Settings) -> Any:
        done.append("made")
        return application

    assert serving.worker(Settings(), make, os.getpid()) is application
    assert done == ["made", "set aside"]


# How it ends


@pytest.mark.parametrize(
    ("command", "number", "workers"),
    [
        (MAKE, signal.SIGINT, "3"),
        (MAKE, signal.SIGTERM, "1"),
        (MAKE, signal.SIGHUP, "1"),
        (APP, signal.SIGINT, "1"),
        (APP, signal.SIGTERM, "3"),
    ],
)
def test_a_signal_stops_everything(
    start: Start, command: tuple[str, ...], number: signal.Signals, workers: str
) -> None:
    """Ctrl-C and a closed terminal reach the whole group, SIGTERM who was started."""
    server = start(command, WORKERS=workers)
    postmaster = server.postmaster
    if number == signal.SIGTERM:
        server.process.send_signal(number)
    else:
        os.killpg(server.process.pid, number)
    until(lambda: is_free(server.port), PORT_HELD_AT_MOST)
    assert server.process.wait(SLOW) == (-number if command == MAKE else 0)
    until(lambda: not is_alive(postmaster))
    assert len(server.said.splitlines()) == 1, server.said


@pytest.mark.parametrize(
    ("victim", "workers"), [("make", "1"), ("make", "3"), ("parent", "1"), ("parent", "3")]
)
def test_kill_9_frees_the_port(start: Start, victim: str, workers: str) -> None:
    """Of make or of the server: nothing listens on, and the next start works on the same data."""
    server = start(WORKERS=workers)
    token, _ = server.create()
    left = [server.parent, *server.workers]
    os.kill(server.process.pid if victim == "make" else server.parent, signal.SIGKILL)
    until(lambda: is_free(server.port), PORT_HELD_AT_MOST)
    until(lambda: not any(map(is_alive, left)))
    again = start(PORT=str(server.port))
    assert again.gql(LIST, token).status_code == 200


# Several workers


def test_workers_serve_on_a_database_of_ones_own(start: Start, database_url: str) -> None:
    """As on the embedded one, which the tests above use."""
    server = start(APP, WORKERS="3", DATABASE_URL=database_url, JWT_SECRET=SECRET)
    assert len(server.workers) == 3
    token, _ = server.create()
    assert all(server.gql(LIST, token).status_code == 200 for _ in range(9))


def test_a_killed_worker_is_replaced(start: Start) -> None:
    """Requests go on meanwhile."""
    server = start(APP, WORKERS="3")
    victim, *others = server.workers
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(server.workers) - {victim}) == 3)
    assert set(others) < set(server.workers)
    assert server.answers()
    (line,) = until(lambda: [n for n in server.lines() if n["event"] == "worker_replaced"])
    assert (line["worker"], line["exitcode"]) == (victim, -signal.SIGKILL)


def test_a_worker_that_cannot_start_stops_all(clone: Path) -> None:
    """With the reason and an exit code, instead of trying for ever."""
    path = clone / "app.py"
    source = path.read_text()
    broken = "    if __name__ == '__mp_main__':\n        raise RuntimeError('no room')\n"
    opening = "    services = make_services(settings)\n    application"
    assert opening in source
    path.write_text(source.replace(opening, broken + opening))
    done = run(clone, *APP, WORKERS="2")
    assert done.returncode == 1
    assert "no room" in done.stdout
    assert "A worker could not start" in done.stderr


def test_no_secret_is_shown_by_ps(start: Start) -> None:
    """Neither in a command nor in the environment of any process."""
    server = start(WORKERS="2")
    secret = (server.data / "secret").read_text()
    shown = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    assert str(server.parent) in shown
    assert secret not in shown


# What keeps it from starting


def test_a_port_in_use(start: Start, clone: Path) -> None:
    """One message that says what to do."""
    server = start(APP)
    done = run(clone, *APP, PORT=str(server.port))
    assert done.returncode == 1
    assert f"port {server.port}: Address already in use" in done.stderr
    assert "PORT=" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("host", ["192.0.2.1", "nosuch.invalid"])
def test_a_host_that_is_not_here(clone: Path, host: str) -> None:
    """Another port would not help."""
    done = run(clone, *APP, HOST=host)
    assert done.returncode == 1
    assert "HOST must be" in done.stderr
    assert "PORT=" not in done.stderr


def test_a_closed_terminal_stops_make_and_all(clone: Path) -> None:
    """As when the window is closed in which nothing but `make serve` runs."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(clone)
        os.execvpe("make", MAKE, environment())  # noqa: S606 - no shell
    shown = ""
    while "workers " not in shown:
        shown += os.read(terminal, 4096).decode()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", shown)
    assert found
    until(lambda: not is_free(int(found[1])))
    os.close(terminal)
    until(lambda: is_free(int(found[1])), PORT_HELD_AT_MOST)
    os.waitpid(pid, 0)


def test_clean_takes_the_data_and_says_who_uses_them(start: Start, clone: Path) -> None:
    """In a clone whose environment is gone too: one is made for it."""
    server = start()
    (clone / ".venv").unlink()
    refused = run(clone, "make", "clean")
    assert refused.returncode != 0
    assert "A server still uses" in refused.stderr
    assert "Traceback" not in refused.stderr
    server.stop()
    assert server.data.exists()
    assert run(clone, "make", "clean").returncode == 0
    assert not server.data.exists()
    assert not (clone / ".state").exists()


def test_bad_settings_are_named_all_at_once(clone: Path) -> None:
    """Without a traceback, and before anything is started."""
    done = run(clone, *APP, PORT="abc", WORKRES="4", ALLOWED_ORIGINS="*")
    assert done.returncode == 1
    assert all(name in done.stderr for name in ("PORT", "WORKRES", "WORKERS", "ALLOWED_ORIGINS"))
    assert "Traceback" not in done.stderr
    assert not (clone / ".state").exists()


def test_url_and_secret_are_judged_before_anything_starts(clone: Path) -> None:
    """Neither is quoted."""
    done = run(
        clone,
        *APP,
        DATABASE_URL="postgresql://someone:hunter22@host/db?pgbouncer=true",
        JWT_SECRET="not-so-good-a-one",
    )
    assert done.returncode == 1
    assert "pgbouncer" in done.stderr
    assert "JWT_SECRET" in done.stderr
    assert "hunter22" not in done.stderr
    assert "not-so-good" not in done.stderr


def test_without_a_secret_a_database_of_ones_own_is_not_served(clone: Path) -> None:
    """It says how to make one."""
    done = run(clone, *APP, DATABASE_URL="postgresql://localhost/db")
    assert done.returncode == 1
    assert "JWT_SECRET is not set" in done.stderr
    assert "openssl rand" in done.stderr


def test_a_database_that_cannot_be_migrated_at_start(clone: Path) -> None:
    """One line, no traceback."""
    done = run(
        clone,
        *APP,
        DATABASE_URL="postgresql://localhost:1/db",
        JWT_SECRET=SECRET,
        MIGRATE_ON_START="1",
    )
    assert done.returncode == 3
    assert "cannot be migrated" in done.stderr
    assert "Traceback" not in done.stderr


def test_help(clone: Path) -> None:
    """The verbs."""
    said = run(clone, *APP, "--help").stdout
    assert all(
        verb in said for verb in ("serve", "migrate", "cleanup", "doctor", "sessions", "users")
    )


def test_cleanup_shows_what_it_would_do(clone: Path, database_url: str) -> None:
    """And does nothing."""
    done = run(clone, *APP, "cleanup", DATABASE_URL=database_url)
    assert done.stdout.startswith("Would purge 0 sessions and 0 guests. Nothing was changed")


# A PostgreSQL of one's own


@pytest.fixture
def unmigrated(start: Start, empty_database_url: str) -> Server:
    """A server on a database that was never migrated."""
    return start(APP, DATABASE_URL=empty_database_url, JWT_SECRET=SECRET)


def test_an_unmigrated_database_is_served_as_not_ready(unmigrated: Server) -> None:
    """/readyz names the command."""
    answer = httpx2.get(f"{unmigrated.base}/readyz", timeout=SLOW)
    assert answer.status_code == 503
    assert "make migrate" in answer.text


def test_an_unmigrated_database_makes_no_session(unmigrated: Server) -> None:
    """Come back later."""
    answer = unmigrated.gql(CREATE)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["errors"][0]["extensions"]["code"] == "SESSION_STORE_UNAVAILABLE"


def test_the_log_names_the_command_that_migrates(unmigrated: Server) -> None:
    """Where an operator looks first."""
    until(lambda: "make migrate" in unmigrated.said)


def test_a_migrated_database_is_served_without_a_restart(
    unmigrated: Server, clone: Path, empty_database_url: str
) -> None:
    """`make migrate` with the address exported."""
    done = run(clone, "make", "migrate", DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stderr
    assert unmigrated.answers("/readyz")
    assert unmigrated.create()


def test_migrate_on_start(start: Start, empty_database_url: str) -> None:
    """For who wants it."""
    server = start(APP, DATABASE_URL=empty_database_url, JWT_SECRET=SECRET, MIGRATE_ON_START="1")
    assert server.answers("/readyz")


def test_a_newer_database_is_served(start: Start, newer_database_url: str) -> None:
    """That is how a rolling upgrade looks from the old side."""
    server = start(APP, DATABASE_URL=newer_database_url, JWT_SECRET=SECRET)
    assert server.answers("/readyz")


def test_a_newer_database_is_not_migrated(clone: Path, newer_database_url: str) -> None:
    """And the command says so."""
    done = run(clone, "make", "migrate", DATABASE_URL=newer_database_url)
    assert done.returncode == 0
    assert "Nothing was changed" in done.stderr


@pytest.fixture
def newer_database_url(database_url: str) -> str:
    """A database that a release after this one has migrated."""

    async def upgrade() -> None:
        db = await asyncpg.connect(database_url)
        await db.execute("UPDATE alembic_version SET version_num = '9999'")
        await db.close()

    asyncio.run(upgrade())
    return database_url
