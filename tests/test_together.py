"""Look-ups of one moment: one statement, each its own answer, and none of them an old one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from auth import tokens
from db import sessions, together
from db.direct import Direct
from db.engine import Database
from db.sessions import Key
from db.statements import text
from db.together import BATCH, Together
from tests.conftest import run_sql

ME = "{ viewer { id } }"
REVOKED = "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_ADMIN'"
MINE = "{ mySessions { id isCurrent } }"
DOOR = "JOIN users u"


async def guests(client: Any, count: int) -> Any:
    return await asyncio.gather(*(client.guest() for _ in range(count)))


def doors(statements: list[str]) -> list[str]:
    return [sent for sent in statements if DOOR in sent]


async def test_look_ups_of_one_moment_are_one_statement(client: Any, statements: list[str]) -> None:
    many = await guests(client, 8)
    statements.clear()
    keys = [Key(UUID(guest.user_id), UUID(guest.session_id)) for guest in many]
    found = await asyncio.gather(*map(client.services.found.ask, keys))
    assert len(doors(statements)) == 1
    assert [one.user.id for one in found] == [key.user_id for key in keys]


async def test_requests_of_one_moment_share_statements_and_know_who_they_are(
    client: Any, statements: list[str]
) -> None:
    many = await guests(client, 8)
    statements.clear()
    answers = await asyncio.gather(*(client.data(ME, token=guest.token) for guest in many))
    assert 1 <= len(doors(statements)) < 8  # the client sends them one after the other
    assert [answer["viewer"]["id"] for answer in answers] == [guest.user_id for guest in many]


async def test_a_list_is_read_in_the_statement_that_checks_who_asks_for_it(
    client: Any, add_session: Any, statements: list[str]
) -> None:
    many = await guests(client, 3)
    for guest in many:
        await add_session(guest)
    await client.data(MINE, token=many[0].token)  # its body is known from here on
    statements.clear()
    answers = await asyncio.gather(*(client.data(MINE, token=guest.token) for guest in many))
    assert statements == doors(statements)
    assert 1 <= len(statements) <= len(many)
    for guest, answer in zip(many, answers, strict=True):
        first, second = answer["mySessions"]
        assert (first["id"], first["isCurrent"]) == (guest.session_id, True)
        assert second["isCurrent"] is False


@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("read", [sessions.find_many, sessions.find_many_with_live])
async def test_few_look_ups_are_planned_once_like_many(
    client: Any, db: Any, database_url: str, read: Callable[..., Awaitable[Any]], count: int
) -> None:
    """PostgreSQL makes its first five plans anew, and then decides."""
    keys = [Key(UUID(g.user_id), UUID(g.session_id)) for g in await guests(client, count)]
    await db.execute("""
        INSERT INTO users (id, username, is_guest)
            SELECT gen_random_uuid(), 'guest-' || n, true FROM generate_series(1, 5000) n;
        INSERT INTO user_sessions (user_id, id, label, expires_at, activity_resolution)
            SELECT id, gen_random_uuid(), 'amber-otter', now() + interval '1 d', interval '60 s'
            FROM users, generate_series(1, 3);
        ANALYZE users, user_sessions""")
    seen = """SELECT generic_plans, custom_plans FROM pg_prepared_statements
              WHERE statement LIKE '%= ANY(%JOIN%' OR statement LIKE '%JOIN%= ANY(%'
              ORDER BY generic_plans + custom_plans DESC LIMIT 1"""

    async def plans(db: Direct) -> Sequence[Any]:
        for _ in range(12):
            assert set(await read(db, keys)) == set(keys)
        return await db.execute(text(seen))

    database = Database(database_url, timeout=20, pool_size=1)
    [(generic, custom)] = await database.look_up(plans)
    await database.close()
    assert (generic, custom) == (7, 5)


async def test_one_revoked_among_many_is_the_only_one_refused(client: Any, db: Any) -> None:
    many = await guests(client, 6)
    ended = many[3]
    await db.execute(f"{REVOKED} WHERE id = $1", ended.session_id)
    for query in (ME, MINE, MINE):
        answers = await asyncio.gather(*(client.gql(query, token=guest.token) for guest in many))
        assert [a.status_code for a in answers] == [200, 200, 200, 401, 200, 200]


async def test_one_users_session_is_not_anothers_because_both_ask_at_once(client: Any) -> None:
    """The statement has two lists of ids; only pairs of them are keys."""
    one, other = await guests(client, 2)
    crossed = [
        client.services.found.ask(Key(UUID(a.user_id), UUID(b.session_id)))
        for a, b in ((one, other), (other, one), (one, one), (other, other))
    ]
    found = await asyncio.gather(*crossed)
    assert [bool(one) for one in found] == [False, False, True, True]
    assert [found[n].user.id for n in (2, 3)] == [UUID(one.user_id), UUID(other.user_id)]


async def test_a_look_up_does_not_join_a_statement_that_was_sent(
    client: Any, db: Any, until_waiting: Any
) -> None:
    """The row is read after the request came, even where one for the same row is under way."""
    guest = await client.guest()
    async with db.transaction():
        await db.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        early = asyncio.ensure_future(client.gql(ME, token=guest.token))
        await until_waiting(early)
        await db.execute(REVOKED)
        late = asyncio.ensure_future(client.gql(ME, token=guest.token))
        await until_waiting(early, late, count=2)
    assert (await late).status_code == 401
    await early


async def test_whoever_calls_off_a_request_takes_nobody_along(
    client: Any, db: Any, until_waiting: Any
) -> None:
    many = await guests(client, 4)
    async with db.transaction():
        await db.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        requests = [asyncio.ensure_future(client.gql(ME, token=guest.token)) for guest in many]
        await until_waiting(*requests)
        requests[0].cancel()
    answers: list[Any] = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.status_code for answer in answers[1:]] == [200, 200, 200]


async def test_more_look_ups_than_one_statement_takes_are_several(
    client: Any, statements: list[str]
) -> None:
    guest = await client.guest()
    own = Key(UUID(guest.user_id), UUID(guest.session_id))
    found: Together[Key, Any] = Together(client.services.database, sessions.find_many)
    statements.clear()
    keys = [Key(uuid4(), uuid4()) for _ in range(BATCH)]
    answers = await asyncio.gather(*map(found.ask, [*keys, own]))
    assert len(doors(statements)) == 2
    assert [answer is not None for answer in answers] == [False] * BATCH + [True]
    await found.close()


async def test_whoever_asks_first_is_asked_for_first(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "BATCH", 2)
    sent: list[Key] = []

    async def read(db: Direct, keys: Sequence[Key]) -> dict[Key, Any]:
        sent.extend(keys)
        return await sessions.find_many(db, keys)

    found: Together[Key, Any] = Together(client.services.database, read)
    keys = [Key(uuid4(), uuid4()) for _ in range(8)]
    assert await asyncio.gather(*map(found.ask, keys)) == [None] * 8
    await found.close()
    assert sent == keys


async def test_what_cannot_have_another_connection_waits_for_the_first(
    client: Any, db: Any, postgres: str, database_url: str, until_waiting: Any
) -> None:
    one, other = await guests(client, 2)
    keys = [Key(UUID(guest.user_id), UUID(guest.session_id)) for guest in (one, other)]
    database = Database(database_url, timeout=20, pool_size=2)
    found: Together[Key, Any] = Together(database, sessions.find_many)
    await found.ask(keys[0])
    alter = f"ALTER DATABASE {urlsplit(database_url).path.removeprefix('/')} ALLOW_CONNECTIONS"
    try:
        async with db.transaction():
            await db.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            early = found.ask(keys[0])
            await until_waiting(early)
            await asyncio.to_thread(run_sql, postgres, f"{alter} false")
            late = found.ask(keys[1])
            await asyncio.sleep(0.3)  # for some tries
            assert not late.done()
        answers = await asyncio.gather(early, late)
    finally:
        await asyncio.to_thread(run_sql, postgres, f"{alter} true")
    assert [answer and answer.user.id for answer in answers] == [key.user_id for key in keys]
    await found.close()
    await database.close()


async def test_a_sender_that_comes_when_all_is_done_leaves_the_next_look_up_alone(
    client: Any, db: Any, until_waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Senders keep their connections for no time, so the one that helps is late."""
    monkeypatch.setattr(together, "HELD", 0.0)
    monkeypatch.setattr(together, "PATIENCE", 0.2)
    guest = await client.guest()
    own = Key(UUID(guest.user_id), UUID(guest.session_id))
    found: Together[Key, Any] = Together(client.services.database, sessions.find_many)
    async with db.transaction():
        await db.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        early = found.ask(own)
        await until_waiting(early)
        late = found.ask(own)
    await asyncio.gather(early, late)
    await asyncio.sleep(0.4)
    async with asyncio.timeout(10):
        assert await found.ask(own)
    await found.close()


# Claims that are kept


async def test_a_tokens_signature_is_checked_once_and_its_row_every_time(
    client: Any, db: Any, monkeypatch: Any, statements: list[str]
) -> None:
    guest = await client.guest()
    verified: list[str] = []

    def verify(token: str, *rest: Any) -> tokens.Claims:
        verified.append(token)
        return really(token, *rest)

    really = tokens.verify
    monkeypatch.setattr(tokens, "verify", verify)
    statements.clear()
    for _ in range(3):
        await client.data(ME, token=guest.token)
    assert verified == [guest.token]
    assert len(doors(statements)) == 3
    await db.execute(REVOKED)
    assert (await client.gql(ME, token=guest.token)).status_code == 401


async def test_a_token_whose_claims_are_kept_expires_all_the_same(client: Any, db: Any) -> None:
    guest = await client.guest()
    row = await db.fetchrow("SELECT * FROM user_sessions")
    now = await db.fetchval("SELECT clock_timestamp()")
    short = tokens.mint(
        client.services.keys,
        client.services.profile,
        user_id=UUID(guest.user_id),
        session_id=row["id"],
        created_at=row["created_at"],
        expires_at=now.replace(microsecond=0) + (row["expires_at"] - row["created_at"]) / 864000,
    )
    assert (await client.gql(ME, token=short)).status_code == 200
    refused = await client.gql(ME, token=short)
    while refused.status_code == 200:
        await asyncio.sleep(0.1)
        refused = await client.gql(ME, token=short)
    assert refused.json()["errors"][0]["extensions"]["reason"] == "TOKEN_EXPIRED"


async def test_of_the_kept_claims_there_are_at_most_so_many(client: Any) -> None:
    services = client.services
    few = tokens.Verifier(services.keys, services.profile, capacity=2)
    many = await guests(client, 4)
    for guest in many:
        credential = f"Bearer {guest.token}".encode()
        assert few.kept(credential) is None
        assert str(few.verify(guest.token, credential).user_id) == guest.user_id
        assert few.kept(credential)
    assert len(few) == 2


async def test_a_token_after_many_spaces_is_good_and_not_kept(client: Any) -> None:
    """Or one good token would fill the memory, in spellings of 16 kB each."""
    services = client.services
    (guest,) = await guests(client, 1)
    verifier = tokens.Verifier(services.keys, services.profile)
    for spaces in (2, 3, 10_000):
        credential = f"Bearer{' ' * spaces}{guest.token}".encode()
        assert str(verifier.verify(guest.token, credential).user_id) == guest.user_id
    assert len(verifier) == 0
