"""The bus: who is told of what, with how many messages, and what a message may do."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from db import bus, changes
from db.bus import Bus
from db.engine import Database
from server.database import bus_url, refuse_unusable
from settings import Settings, SettingsError


@pytest.fixture
async def heard(db: Any) -> list[str]:
    """Every message on the bus of this database."""
    messages: list[str] = []
    await db.add_listener(bus.CHANNEL, lambda *told: messages.append(told[3]))
    return messages


async def until_heard(heard: list[str], count: int) -> None:
    """Waits for so many messages."""
    async with asyncio.timeout(5):
        while len(heard) < count:  # noqa: ASYNC110 - they come from PostgreSQL
            await asyncio.sleep(0.001)


@pytest.fixture
async def told() -> list[Collection[UUID] | None]:
    """What a process was told."""
    return []


@pytest.fixture
async def listener(database_url: str, told: list[Collection[UUID] | None]) -> AsyncIterator[Bus]:
    """A process that listens."""
    listening = Bus(database_url, told.append)
    task = asyncio.create_task(listening.listen())
    async with asyncio.timeout(10):
        while not listening.is_listening:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    told.clear()
    yield listening
    task.cancel()
    await listening.close()


def test_a_message_holds_ids_and_fits() -> None:
    """PostgreSQL takes fewer than 8,000 bytes; more users than fit are everybody."""
    ids = {uuid4() for _ in range(bus.MAX_IDS)}
    payload = bus.payload_of(ids)
    assert len(payload) < 8_000
    assert set(bus.ids_in(payload) or ()) == ids
    assert bus.ids_in(bus.payload_of(ids | {uuid4()})) is None


async def test_what_is_no_message_of_ours_means_look_at_everything(
    listener: Bus, told: list[Any], db: Any
) -> None:
    """Every role may send one; it makes somebody look, and lets nobody in or out."""
    del listener
    for payload in ("", "*", "x", "DROP TABLE users"):
        await db.execute("SELECT pg_notify($1, $2)", bus.CHANNEL, payload)
    async with asyncio.timeout(5):
        while len(told) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert told == [None] * 4


async def test_what_changes_in_one_turn_of_the_loop_is_one_message(
    database_url: str, heard: list[str]
) -> None:
    told: list[Any] = []
    speaker = Bus(database_url, told.append)
    ids = [uuid4() for _ in range(5)]
    for user_id in ids:
        speaker.tell({user_id})
    assert told == [{user_id} for user_id in ids]  # this process at once
    await speaker.close()
    await until_heard(heard, 1)
    (payload,) = heard
    assert set(bus.ids_in(payload) or ()) == set(ids)


async def test_what_changes_soon_after_a_message_shares_the_next(
    database_url: str, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.bus.PACE", 0.5)
    speaker = Bus(database_url, lambda _: None)
    ids = [uuid4() for _ in range(3)]
    for user_id in ids:
        speaker.tell({user_id})
        await until_heard(heard, 1)
    assert len(heard) == 1
    await speaker.close()
    await until_heard(heard, 2)
    assert [set(bus.ids_in(told) or ()) for told in heard] == [{ids[0]}, set(ids[1:])]


async def test_who_changes_again_while_a_message_is_under_way_is_told_of_again(
    database_url: str, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Bus(database_url, lambda _: None)
    user_id, go_on = uuid4(), asyncio.Event()
    bounded = bus.bounded

    async def late(statement: Any) -> Any:
        answer = await bounded(statement)
        await go_on.wait()
        return answer

    monkeypatch.setattr(bus, "bounded", late)
    speaker.tell({user_id})
    await until_heard(heard, 1)
    speaker.tell({user_id})
    go_on.set()
    await until_heard(heard, 2)
    await speaker.close()
    assert heard == [user_id.hex] * 2


async def test_every_message_has_its_own_tries(
    database_url: str, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long one task sends them."""
    monkeypatch.setattr("db.bus.PAUSE", (0.001, 0.002))
    monkeypatch.setattr("db.bus.PACE", 0.2)
    speaker = Bus(database_url, lambda _: None)
    ids = [uuid4() for _ in range(bus.TRIES + 2)]
    speaker.tell({ids[0]})
    sender = speaker._sending
    for told, user_id in enumerate(ids[1:], 1):
        await until_heard(heard, told)
        speaker._speaker.terminate()
        speaker.tell({user_id})
    assert speaker._sending is sender
    await speaker.close()
    assert heard == [user_id.hex for user_id in ids]


async def test_a_process_is_not_told_twice(listener: Bus, told: list[Any], db: Any) -> None:
    user_id, other = uuid4(), uuid4()
    listener.tell({user_id})
    assert listener._sending
    await listener._sending
    await db.execute("SELECT pg_notify($1, $2)", bus.CHANNEL, other.hex)
    async with asyncio.timeout(5):
        while [other] not in told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert told == [{user_id}, [other]]


async def test_a_transaction_tells_once_whose_sessions_it_changed(database_url: str) -> None:
    """After its end, and nothing where nothing was changed."""
    database = Database(database_url, timeout=5, pool_size=1)
    told: list[Any] = []
    database.on_change = told.append
    ids = {uuid4(), uuid4()}
    async with database.begin() as db:
        for user_id in ids:
            changes.note(db, [user_id])
        assert told == []
    assert told == [ids]
    async with database.begin():
        pass
    assert told == [ids]
    await database.close()


async def test_a_session_that_begins_is_told_and_one_that_is_used_is_not(
    client: Any, heard: list[str]
) -> None:
    """Nor a new user's first one: nobody can have a socket in that name."""
    guest = await client.guest()
    await client.device(guest)
    await until_heard(heard, 1)
    assert heard == [UUID(guest.user_id).hex]
    await client.data("{ mySessions { id } }", token=guest.token)
    await client.flush()
    await asyncio.sleep(0.2)
    assert len(heard) == 1


async def test_while_there_is_no_primary_telling_fails_nobody(database_url: str) -> None:
    """Nor does the end of a process or of a command that told something last."""
    mark = "&" if "?" in database_url else "?"
    told: list[Any] = []
    speaker = Bus(f"{database_url}{mark}target_session_attrs=standby", told.append)
    user_id = uuid4()
    speaker.tell({user_id})
    await asyncio.sleep(0.1)
    speaker.tell({user_id})
    await speaker.close()
    assert told == [{user_id}] * 2


async def test_messages_wait_for_no_disk_and_no_standby(listener: Bus, db: Any) -> None:
    """Their commits carry nothing; everybody else's do."""
    listener.tell({uuid4()})
    await listener.close()
    connection = await bus.connect(listener._url or "")
    assert await connection.fetchval("SHOW synchronous_commit") == "off"
    connection.terminate()
    assert await db.fetchval("SHOW synchronous_commit") == "on"


async def test_without_a_place_to_listen_only_this_process_is_told() -> None:
    told: list[Any] = []
    alone = Bus(None, told.append)
    ids = {uuid4()}
    alone.tell(ids)
    await alone.listen()  # at once at its end
    await alone.close()
    assert told == [ids]


def test_a_listen_url_that_cannot_be_used_stops_the_start() -> None:
    """By its name, and without its text."""
    url = SecretStr("mysql://user:hunter22@host/db")
    with pytest.raises(SettingsError, match="LISTEN_URL must begin with") as refused:
        refuse_unusable(Settings(LISTEN_URL=url))
    assert "hunter22" not in str(refused.value)


def test_behind_a_pooler_only_a_listen_url_leads_to_the_bus() -> None:
    direct = SecretStr("postgresql://direct/db")
    pooled = Settings(DATABASE_POOLER="transaction")
    assert bus_url(pooled, "postgresql://pooled/db") is None
    assert bus_url(pooled.model_copy(update={"LISTEN_URL": direct}), "x") == (
        "postgresql://direct/db"
    )
    assert bus_url(Settings(), "postgresql://own/db") == "postgresql://own/db"
