"""Behind PgBouncer in transaction mode: every statement may meet another connection."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

PROGRAM = shutil.which("pgbouncer")
ME = "{ viewer { id } }"
MINE = "{ mySessions { id } }"
CREATE = "mutation { createSession { token } }"
CODE = "mutation { createLinkCode { code } }"
SIGN_OUT = "mutation { revokeSession { status } }"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Debian's pgbouncer")


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """The test's database through a pooler with fewer connections than clients."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        Path(folder).chmod(0o755)
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(configuration(database_url, port))
        with started(config, port, owner_of_the_way_to(database_url)):
            name = urlsplit(database_url).path
            yield f"postgresql://anybody@127.0.0.1:{port}{name}?sslmode=disable"


def configuration(url: str, port: int) -> str:
    """Four connections to the database, whoever comes."""
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    to = {
        "host": query.get("host", [parts.hostname or ""])[0],
        "port": query.get("port", [str(parts.port or 5432)])[0],
        "user": parts.username or "postgres",
        "password": parts.password or "",
        "dbname": parts.path.removeprefix("/"),
    }
    leads = " ".join(f"{name}={value}" for name, value in to.items() if value)
    return f"""[databases]
{to["dbname"]} = {leads}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
ignore_startup_parameters = extra_float_digits
"""


def owner_of_the_way_to(url: str) -> int:
    """Who may connect: the owner of a socket's folder, anybody over a network."""
    (host,) = parse_qs(urlsplit(url).query).get("host", [""])
    return Path(host).stat().st_uid if host.startswith("/") else pwd.getpwnam("nobody").pw_uid


class started:  # noqa: N801 - reads as what it is at its one use
    """The pooler, for a block; as root it runs as somebody else."""

    def __init__(self, config: Path, port: int, uid: int) -> None:
        self._port = port
        who: dict[str, int] = {}
        if os.geteuid() == 0:
            who = {"user": uid, "group": pwd.getpwuid(uid).pw_gid}
        self._process = subprocess.Popen([PROGRAM or "", "-q", str(config)], **who)  # type: ignore[call-overload] # of these two

    def __enter__(self) -> None:
        while True:
            assert self._process.poll() is None
            with socket.socket() as peer:
                if peer.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def test_reads_and_writes_of_many_clients_share_few_connections(
    start_app: Any, pooled_url: str, db: Any
) -> None:
    client = await start_app(
        DATABASE_URL=SecretStr(pooled_url), DATABASE_POOLER="transaction", DATABASE_POOL_SIZE=20
    )
    # From the first moment on, when every connection is new and everybody comes at once.
    guests = await asyncio.gather(*(client.guest() for _ in range(12)))
    answers = await asyncio.gather(
        *(
            client.gql(query, token=guest.token)
            for guest in guests
            for query in (ME, MINE, CODE, CREATE, MINE, ME)
        )
    )
    assert Counter(answer.status_code for answer in answers) == {200: len(answers)}
    assert not [answer.text for answer in answers if "errors" in answer.json()]
    await asyncio.gather(*(client.data(SIGN_OUT, token=guest.token) for guest in guests))
    refused = await asyncio.gather(*(client.gql(ME, token=guest.token) for guest in guests))
    assert Counter(answer.status_code for answer in refused) == {401: len(guests)}
    assert await db.fetchval("SELECT count(*) FROM users") == 24
