"""The command line, as a person types it: real processes on the real database."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest

from settings import ROOT, Settings

SECRET = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"
ME = "{ viewer { id } }"
UNKNOWN = "01900000-0000-7000-8000-000000000000"


class Typed:
    """Types commands for a database."""

    def __init__(self, url: str) -> None:
        kept = {k: v for k, v in os.environ.items() if k not in Settings.model_fields}
        self.environment = kept | {"DATABASE_URL": url, "JWT_SECRET": SECRET}

    def start(self, *words: str, **changes: str) -> subprocess.Popen[str]:
        """A command that runs."""
        return subprocess.Popen(
            [sys.executable, "app.py", *words],
            cwd=ROOT,
            env=self.environment | changes,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def __call__(
        self, *words: str, typed: str = "", code: int = 0, **changes: str
    ) -> tuple[str, str]:
        """What a command says, and complains of."""
        process = self.start(*words, **changes)
        said, complained = await asyncio.to_thread(process.communicate, typed, 60)
        assert process.returncode == code, said + complained
        assert "Traceback" not in said + complained
        return said, complained

    async def json(self, *words: str, **changes: Any) -> Any:
        """A command's answer for scripts."""
        said, _ = await self(*words, "--json", **changes)
        return json.loads(said)


@pytest.fixture
def typed(database_url: str) -> Typed:
    return Typed(database_url)


async def name_of(db: Any, guest: Any) -> str:
    name: str = await db.fetchval("SELECT username FROM users WHERE id = $1", UUID(guest.user_id))
    return name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), ("serve", "migrate", "cleanup", "doctor", "sessions", "users")),
        (("serve",), ("--ends-with",)),
        (("cleanup",), ("--apply", "--json")),
        (("doctor",), ("--token", "--json")),
        (("sessions",), ("list", "show", "revoke")),
        (("sessions", "list"), ("--user", "--status", "--from", "--created-before", "--limit")),
        (("sessions", "revoke"), ("--created-before", "--apply", "restore from a backup")),
        (("users",), ("list", "show", "promote", "disable", "link-code")),
    ],
)
async def test_help_reads_well(typed: Typed, words: tuple[str, ...], told: tuple[str, ...]) -> None:
    said, _ = await typed(*words, "--help")
    assert all(word in said for word in told)


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("sessions", "list", "--nonsense"),
        ("sessions", "list", "--status", "DEAD"),
        ("sessions", "list", "--from", "300.1.2.3"),
        ("sessions", "list", "--created-before", "yesterday"),
        ("sessions", "revoke", "--apply"),
        ("sessions", "revoke", "--label", "", "--apply"),
        ("sessions", "revoke", UNKNOWN, "--label", "x"),
        ("sessions", "list", "--from", ""),
        ("sessions", "list", "--created-before", "0001-01-01T00:00+14:00"),
        ("users", "show"),
    ],
)
async def test_what_is_not_understood_ends_with_2(typed: Typed, words: tuple[str, ...]) -> None:
    _, complained = await typed(*words, code=2)
    assert complained


async def test_whom_nobody_knows_ends_with_4(typed: Typed) -> None:
    for words in (
        ("sessions", "show", UNKNOWN),
        ("sessions", "show", "x"),
        ("sessions", "revoke", UNKNOWN, "--apply"),
        ("sessions", "list", "--user", "nobody"),
        ("users", "show", "nobody"),
        ("users", "promote", UNKNOWN),
        ("users", "disable", "nobody"),
        ("users", "link-code", "nobody"),
    ):
        _, complained = await typed(*words, code=4)
        assert "There is no" in complained


async def test_a_database_that_is_away_ends_with_3(typed: Typed) -> None:
    away = {"DATABASE_URL": "postgresql://me:hunter22@127.0.0.1:1/db"}
    _, complained = await typed("users", "list", code=3, **away)
    assert "cannot answer" in complained
    assert "hunter22" not in complained
    await typed("migrate", code=3, **away)


async def test_one_that_is_not_migrated_ends_with_3_and_names_the_command(
    empty_database_url: str,
) -> None:
    _, complained = await Typed(empty_database_url)("sessions", "list", code=3)
    assert "make migrate" in complained


# Sessions.


async def test_sessions_are_listed_for_people_and_for_scripts(
    client: Any, db: Any, typed: Typed
) -> None:
    one, other = await client.guest(), await client.guest()
    name = await name_of(db, one)
    said, _ = await typed("sessions", "list")
    assert one.session_id in said
    assert other.session_id in said
    assert name in said
    rows = await typed.json("sessions", "list", "--user", name.upper())
    assert [row["id"] for row in rows] == [one.session_id]
    assert (rows[0]["status"], rows[0]["username"]) == ("ACTIVE", name)
    assert await typed.json("sessions", "list", "--status", "revoked") == []
    assert len(await typed.json("sessions", "list", "--limit", "1")) == 1


async def test_a_session_is_shown_with_its_history(client: Any, typed: Typed) -> None:
    guest = await client.guest()
    await client.data("mutation { revokeSession { status } }", token=guest.token)
    shown = await typed.json("sessions", "show", guest.session_id)
    assert (shown["status"], shown["reason"]) == ("REVOKED", "SIGNED_OUT")
    assert [event["event"] for event in shown["history"]] == ["REVOKED", "CREATED"]
    said, _ = await typed("sessions", "show", guest.session_id)
    assert "SIGNED_OUT" in said
    assert guest.token not in said


async def test_revoking_shows_first_and_does_it_when_told(
    client: Any, db: Any, typed: Typed
) -> None:
    one, other = await client.guest(), await client.guest()
    said, _ = await typed("sessions", "revoke", one.session_id)
    assert "Would revoke 1" in said
    assert (await client.gql(ME, token=one.token)).status_code == 200
    said, _ = await typed("sessions", "revoke", one.session_id, "--apply")
    assert "Revoked 1" in said
    told = (await client.gql(ME, token=one.token)).json()["errors"][0]["extensions"]
    assert told["revokedReason"] == "REVOKED_BY_ADMIN"
    assert (await client.gql(ME, token=other.token)).status_code == 200
    event = await db.fetchrow("SELECT * FROM session_events WHERE kind = 'REVOKED'")
    assert (event["actor"], event["actor_session_id"]) == ("OPERATOR", None)
    again = await typed.json("sessions", "revoke", one.session_id, "--apply")
    assert again == {"applied": True, "sessions": 0}


async def test_after_a_restore_what_was_made_before_is_ended(
    client: Any, db: Any, typed: Typed
) -> None:
    before = [await client.guest() for _ in range(3)]
    restored = await db.fetchval("SELECT clock_timestamp()::text")
    after = await client.guest()
    words = ("sessions", "revoke", "--created-before", restored)
    assert await typed.json(*words) == {"applied": False, "sessions": 3}
    assert await typed.json(*words, "--apply") == {"applied": True, "sessions": 3}
    answers = [await client.gql(ME, token=guest.token) for guest in (*before, after)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 200]


async def test_ctrl_c_leaves_nothing_half_done(client: Any, db: Any, typed: Typed) -> None:
    """Sent while it waits for a user whose row is held: the batches before are done, no more."""
    held, *others = [await client.guest() for _ in range(4)]
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(held.user_id))
        process = typed.start("sessions", "revoke", "--guest", "--apply")
        ended = "SELECT count(*) FROM user_sessions WHERE revoked_at IS NOT NULL"
        while await db.fetchval(ended) < len(others):
            assert process.poll() is None
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, complained = await asyncio.to_thread(process.communicate, None, 60)
    assert process.returncode == 130
    assert "Traceback" not in complained
    assert await db.fetchval(ended) == len(others)
    events = "SELECT count(*) FROM session_events WHERE kind = 'REVOKED'"
    assert await db.fetchval(events) == len(others)
    assert (await client.gql(ME, token=held.token)).status_code == 200


# Users.


async def test_a_user_is_promoted_and_demoted(client: Any, db: Any, typed: Typed) -> None:
    guest = await client.guest()
    name = await name_of(db, guest)
    listing = "{ sessions { edges { cursor } } }"
    _, complained = await typed("users", "promote", name, code=1)
    assert "claim an account first" in complained
    guest, name = await client.account("Magnolia"), "Magnolia"
    assert "FORBIDDEN" in (await client.gql(listing, token=guest.token)).text
    said, _ = await typed("users", "promote", name)
    assert f"{name} is an administrator" in said
    assert "errors" not in (await client.gql(listing, token=guest.token)).json()
    assert [row["username"] for row in await typed.json("users", "list", "--admins")] == [name]
    done = await typed.json("users", "promote", guest.user_id, "--demote")
    assert (done["administrator"], done["changed"]) == (False, True)
    assert "FORBIDDEN" in (await client.gql(listing, token=guest.token)).text
    assert await typed.json("users", "list", "--admins") == []


async def test_a_user_is_shown_with_sessions_and_history(
    client: Any, db: Any, typed: Typed
) -> None:
    guest = await client.guest()
    other = await client.device(guest)
    await client.data("mutation { revokeSession { status } }", token=other.token)
    shown = await typed.json("users", "show", await name_of(db, guest))
    assert [(s["id"], s["status"]) for s in shown["sessions"]] == [
        (guest.session_id, "ACTIVE"),
        (other.session_id, "REVOKED"),
    ]
    assert len(shown["history"]) == 3
    said, _ = await typed("users", "show", guest.user_id)
    assert guest.session_id in said


async def test_a_user_is_disabled_and_enabled(client: Any, db: Any, typed: Typed) -> None:
    guest = await client.guest()
    name = await name_of(db, guest)
    said, _ = await typed("users", "disable", name)
    assert f"{name} is disabled; 1 sessions have ended" in said
    told = (await client.gql(ME, token=guest.token)).json()["errors"][0]["extensions"]
    assert told["revokedReason"] == "USER_DISABLED"
    _, complained = await typed("users", "link-code", name, code=4)
    assert "disabled" in complained
    assert (await typed.json("users", "disable", name, "--enable"))["changed"] is True


async def test_who_has_lost_every_device_comes_back_with_an_operators_code(
    client: Any, db: Any, typed: Typed
) -> None:
    guest = await client.guest()
    await client.data("mutation { revokeAllSessions { revokedCount } }", token=guest.token)
    code = (await typed.json("users", "link-code", await name_of(db, guest)))["code"]
    created = await client.redeem(code)
    assert created["session"]["user"]["id"] == guest.user_id
    proven = await db.fetchrow(
        "SELECT authenticated_at = created_at AS fresh FROM user_sessions WHERE id = $1",
        UUID(created["session"]["id"]),
    )
    assert proven["fresh"]
    assert (await client.redeem(code))["token"] is None


@pytest.mark.parametrize("how", ["revoke all", "disable"])
async def test_an_operators_code_is_killed_by_revoke_all_and_by_disabling(
    client: Any, db: Any, typed: Typed, how: str
) -> None:
    guest = await client.guest()
    name = await name_of(db, guest)
    said, _ = await typed("users", "link-code", name)
    code = said.split()[0]
    if how == "disable":
        await typed("users", "disable", name)
        await typed("users", "disable", name, "--enable")
    else:
        await client.data("mutation { revokeAllSessions { revokedCount } }", token=guest.token)
    assert (await client.redeem(code))["token"] is None


# The doctor.


async def findings(command: Typed, *words: str, code: int = 0, **more: Any) -> dict[str, Any]:
    found = await command.json("doctor", *words, code=code, **more)
    return {finding["what"]: finding for finding in found}


@pytest.mark.usefixtures("durable")
async def test_the_doctor_finds_a_healthy_server_healthy(typed: Typed) -> None:
    found = await findings(typed)
    assert {"settings", "key", "postgresql", "primary", "migrations", "clock"} <= set(found)
    assert {"durability", "replication", "pooler", "connections", "encoding"} <= set(found)
    assert all(finding["level"] != "fail" for finding in found.values())
    said, _ = await typed("doctor")
    assert SECRET not in said
    assert "kid" in said


@pytest.mark.usefixtures("durable")
async def test_the_doctor_names_what_is_wrong(
    typed: Typed, db: Any, empty_database_url: str
) -> None:
    found = await findings(typed, code=1, JWT_SECRET="short")
    assert "openssl rand" in found["settings"]["message"]
    found = await findings(typed, code=1, SESSION_MAX_PER_USR="5")
    assert "SESSION_MAX_PER_USER" in found["settings"]["message"]
    found = await findings(Typed(empty_database_url), code=1)
    assert "make migrate" in found["migrations"]["message"]
    found = await findings(typed, code=1, DATABASE_URL="postgresql://127.0.0.1:1/db")
    assert found["database"]["level"] == "fail"
    found = await findings(typed, PASSWORD_MIN_LENGTH="8")
    assert found["passwords"]["level"] == "warn"
    found = await findings(typed, code=1, OIDC_ISSUERS="http://accounts.example.com me")
    assert "OIDC_ISSUERS" in found["settings"]["message"]
    found = await findings(typed, WORKERS="200")
    assert found["connections"]["level"] == "warn"
    found = await findings(typed, DATABASE_POOLER="transaction")
    assert "as set" in found["pooler"]["message"]
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    found = await findings(typed, code=1)
    assert "synchronous_commit" in found["durability"]["message"]


async def test_the_doctor_explains_a_token_offline_without_printing_it(
    client: Any, typed: Typed
) -> None:
    guest = await client.guest()
    offline: Any = {"DATABASE_URL": "postgresql://127.0.0.1:1/db"}
    found = await findings(typed, "--token", typed=f"Bearer {guest.token}\n", **offline)
    assert found["sid"]["message"] == guest.session_id
    assert found["sub"]["message"] == guest.user_id
    assert found["signature"]["level"] == "ok"
    said, complained = await typed("doctor", "--token", typed=guest.token, **offline)
    for part in guest.token.split("."):
        assert part not in said + complained


async def test_a_token_as_an_argument_is_refused_and_not_quoted(typed: Typed) -> None:
    said, complained = await typed("doctor", "--token", "eyJhbGciOi.planted.x", code=2)
    assert "planted" not in said + complained


async def test_the_doctor_tells_a_forged_and_a_foreign_token(client: Any, typed: Typed) -> None:
    guest = await client.guest()
    forged = guest.token[:-4] + ("AAAA" if guest.token[-4:] != "AAAA" else "BBBB")
    found = await findings(typed, "--token", typed=forged, code=1)
    assert found["signature"]["level"] == "fail"
    other = {"JWT_SECRET": "pQ8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXZ"}
    found = await findings(typed, "--token", typed=guest.token, code=1, **other)
    assert "another key" in found["signature"]["message"]
    for senseless in ("", "x", "a.b.c", "\x1b[31m.x.y"):
        found = await findings(typed, "--token", typed=senseless, code=1)
        assert found["form"]["level"] == "fail"
