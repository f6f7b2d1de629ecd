"""Writes of one moment: one commit for all, nobody answered before it, nobody harmed by another."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from db.direct import Direct
from db.engine import Unavailable
from db.shared import Shared

CREATE = "mutation { createSession { token session { id user { username } } } }"
NAMED = """mutation($label: String!) {
    createSession(input: {label: $label}) { session { id } } }"""
REVOKE = "mutation($id: ID) { revokeSession(id: $id) { status } }"
SIGN_OUT = "mutation { revokeSession { status } }"
ME = "{ viewer { id } }"
REVOKED = "UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_ADMIN'"


def begun(statements: Sequence[str]) -> list[str]:
    """The statements that insert sessions."""
    return [sent for sent in statements if "INSERT INTO user_sessions" in sent]


def ended(statements: Sequence[str]) -> list[str]:
    """The statements that revoke."""
    return [sent for sent in statements if "UPDATE user_sessions s SET revoked_at" in sent]


async def guests(client: Any, count: int) -> Any:
    return await asyncio.gather(*(client.guest() for _ in range(count)))


async def test_guests_of_one_moment_share_a_transaction(
    client: Any, db: Any, statements: list[str]
) -> None:
    made = await asyncio.gather(*(client.data(CREATE) for _ in range(20)))
    assert 1 <= len(begun(statements)) <= 3
    assert len({one["createSession"]["token"] for one in made}) == 20
    assert len({one["createSession"]["session"]["user"]["username"] for one in made}) == 20
    for table in ("users", "usernames", "user_sessions", "session_events"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 20
    for one in made:
        assert (await client.gql(ME, token=one["createSession"]["token"])).status_code == 200


async def test_each_guest_has_its_own_device_label_and_place_in_the_history(
    client: Any, db: Any
) -> None:
    agents = [f"agent-{n}" for n in range(5)]
    made = await asyncio.gather(
        *(client.gql(NAMED, label=f"label-{a}", headers={"User-Agent": a}) for a in agents)
    )
    ids = [one.json()["data"]["createSession"]["session"]["id"] for one in made]
    for agent, session_id in zip(agents, ids, strict=True):
        row = await db.fetchrow("SELECT * FROM user_sessions WHERE id = $1", session_id)
        assert (row["user_agent"], row["label"]) == (agent, f"label-{agent}")
        told = await db.fetchrow("SELECT * FROM session_events WHERE session_id = $1", session_id)
        assert (told["kind"], told["user_id"]) == ("CREATED", row["user_id"])
        assert (told["actor_user_id"], told["actor_session_id"]) == (row["user_id"], row["id"])


async def test_endings_of_one_moment_share_a_transaction(
    client: Any, db: Any, statements: list[str]
) -> None:
    many = await guests(client, 12)
    statements.clear()
    answers = await asyncio.gather(*(client.data(SIGN_OUT, token=guest.token) for guest in many))
    assert 1 <= len(ended(statements)) <= 3
    assert {answer["revokeSession"]["status"] for answer in answers} == {"REVOKED"}
    for guest in many:
        assert (await client.gql(ME, token=guest.token)).status_code == 401
    told = await db.fetch("SELECT * FROM session_events WHERE kind = 'REVOKED'")
    assert {str(row["session_id"]) for row in told} == {guest.session_id for guest in many}
    assert all(row["session_id"] == row["actor_session_id"] for row in told)


async def test_nobody_is_answered_before_the_commit(
    client: Any, db: Any, until_waiting: Any
) -> None:
    """A trigger holds the commit up, as a slow disk or a synchronous standby would."""
    await db.execute("""
        CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER hold_up AFTER INSERT OR UPDATE ON user_sessions
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_up()""")
    many = await guests(client, 2)
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock(1)")
        requests = [asyncio.ensure_future(client.data(SIGN_OUT, token=g.token)) for g in many]
        requests += [asyncio.ensure_future(client.data(CREATE)) for _ in range(2)]
        await until_waiting(*requests, count=2)
        for guest in many:
            assert (await client.gql(ME, token=guest.token)).status_code == 200
        assert not any(request.done() for request in requests)
    await asyncio.gather(*requests)
    for guest in many:
        assert (await client.gql(ME, token=guest.token)).status_code == 401


async def test_a_user_whose_row_is_held_delays_nobody_else(
    client: Any, db: Any, until_waiting: Any
) -> None:
    many = await guests(client, 5)
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(many[0].user_id))
        requests = [asyncio.ensure_future(client.data(SIGN_OUT, token=g.token)) for g in many]
        await asyncio.gather(*requests[1:])
        await until_waiting(requests[0])
    assert (await requests[0])["revokeSession"]["status"] == "REVOKED"


async def test_who_was_revoked_meanwhile_is_refused_alone(
    client: Any, add_session: Any, db: Any, until_waiting: Any
) -> None:
    many = await guests(client, 4)
    others = [await add_session(guest) for guest in many]
    async with db.transaction():
        await db.execute("LOCK TABLE users IN EXCLUSIVE MODE")  # after the door, before the writes
        requests = [
            asyncio.ensure_future(client.gql(REVOKE, token=guest.token, id=other.session_id))
            for guest, other in zip(many, others, strict=True)
        ]
        await until_waiting(*requests)
        await db.execute(f"{REVOKED} WHERE id = $1", many[2].session_id)
    answers = [answer.json() for answer in await asyncio.gather(*requests)]
    refused = answers.pop(2)
    assert refused["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"
    assert [answer["data"]["revokeSession"]["status"] for answer in answers] == ["REVOKED"] * 3
    assert (await client.gql(ME, token=others[2].token)).status_code == 200


async def test_two_of_one_user_who_end_each_other_do_it_one_after_the_other(
    client: Any, add_session: Any
) -> None:
    here = await client.guest()
    there = await add_session(here)
    answers = await asyncio.gather(
        client.gql(REVOKE, token=here.token, id=there.session_id),
        client.gql(REVOKE, token=there.token, id=here.session_id),
    )
    good = [answer for answer in answers if "errors" not in answer.json()]
    assert len(good) == 1
    states = [(await client.gql(ME, token=guest.token)).status_code for guest in (here, there)]
    assert sorted(states) == [200, 401]


async def test_writes_of_one_user_join_one_after_the_other_and_none_is_alone(
    client: Any, add_session: Any, statements: list[str]
) -> None:
    guest = await client.guest()
    others = [await add_session(guest) for _ in range(3)]
    statements.clear()
    requests = [client.data(REVOKE, token=guest.token, id=other.session_id) for other in others]
    answers = await asyncio.gather(*requests)
    assert {answer["revokeSession"]["status"] for answer in answers} == {"REVOKED"}
    locks = [sent for sent in statements if "FOR NO KEY UPDATE" in sent]
    assert len(locks) == len(ended(statements)) == len(others)
    assert all("SKIP LOCKED" in sent for sent in locks)


@pytest.fixture
async def held(
    client: Any,
) -> AsyncIterator[tuple[Shared[str, str], list[list[str]], asyncio.Event]]:
    """A kind of write, of which two transactions wait for an event; what was written together."""
    written: list[list[str]] = []
    begun: asyncio.Queue[None] = asyncio.Queue()
    go_on = asyncio.Event()

    async def write(db: Direct, members: Sequence[str]) -> list[str]:
        del db
        written.append(list(members))
        begun.put_nowait(None)
        await go_on.wait()
        return [member.upper() for member in members]

    shared: Shared[str, str] = Shared(client.services.database, write)
    latest = asyncio.get_running_loop().time() + 60
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for owner in "xy":
            group.create_task(shared.ask(owner, owner=owner, deadline=latest))
            await begun.get()
        yield shared, written, go_on
        go_on.set()


async def test_who_came_first_of_an_owner_is_not_forgotten_when_the_second_is_called_off(
    held: tuple[Shared[str, str], list[list[str]], asyncio.Event],
) -> None:
    shared, written, go_on = held
    latest = asyncio.get_running_loop().time() + 60
    first, second, third = (
        asyncio.create_task(shared.ask(member, owner="one", deadline=latest)) for member in "abc"
    )
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    go_on.set()
    assert (await first, await third) == ("A", "C")
    assert ["a"] in written
    assert written.index(["a"]) < written.index(["c"])


async def test_who_comes_meanwhile_shares_the_next_and_a_long_one_is_not_waited_for(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[str]] = []
    begun: asyncio.Queue[None] = asyncio.Queue()
    ends: dict[str, asyncio.Event] = {name: asyncio.Event() for name in "abde"}

    async def write(db: Direct, members: Sequence[str]) -> list[str]:
        del db
        written.append(list(members))
        begun.put_nowait(None)
        await ends[members[0]].wait()
        return list(members)

    shared: Shared[str, str] = Shared(client.services.database, write)
    latest = asyncio.get_running_loop().time() + 60
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:

        def ask(member: str) -> None:
            group.create_task(shared.ask(member, owner=member, deadline=latest))

        monkeypatch.setattr("db.shared.PATIENCE", 30)
        ask("a")
        await begun.get()
        ask("b")
        ask("c")
        await asyncio.sleep(0.1)
        assert written == [["a"]]
        monkeypatch.setattr("db.shared.PATIENCE", 0.01)
        ends["a"].set()
        await begun.get()
        assert written[1:] == [["b", "c"]]
        ask("d")  # whose turn comes although those two are under way
        await begun.get()
        ask("e")  # never a third
        await asyncio.sleep(0.1)
        assert written[2:] == [["d"]]
        ends["d"].set()
        await begun.get()
        for end in ends.values():
            end.set()
    assert written == [["a"], ["b", "c"], ["d"], ["e"]]


async def test_a_sender_that_is_called_off_stops_nobody_after_it(client: Any) -> None:
    async def write(db: Direct, members: Sequence[str]) -> list[str]:
        del db
        return list(members)

    shared: Shared[str, str] = Shared(client.services.database, write)
    now = asyncio.get_running_loop().time()
    lost = asyncio.create_task(shared.ask("a", owner="a", deadline=now + 0.2))
    await asyncio.sleep(0)
    assert shared._sender
    shared._sender.cancel()
    with pytest.raises(Unavailable):
        await lost
    assert await shared.ask("b", owner="b", deadline=now + 60) == "b"


async def test_a_deadline_before_those_of_others_is_kept(
    held: tuple[Shared[str, str], list[list[str]], asyncio.Event],
) -> None:
    shared, _, go_on = held
    now = asyncio.get_running_loop().time()
    patient = asyncio.create_task(shared.ask("a", owner="a", deadline=now + 60))
    await asyncio.sleep(0)
    for deadline in (now + 0.2, now - 1):
        with pytest.raises(Unavailable):
            await shared.ask("b", owner="b", deadline=deadline)
    go_on.set()
    assert await patient == "A"


async def test_what_makes_a_shared_transaction_fail_harms_only_whose_it_is(
    client: Any, db: Any
) -> None:
    await db.execute("ALTER TABLE user_sessions ADD CHECK (label <> 'poison')")
    labels = ["good-1", "poison", "good-2", "good-3"]
    answers = await asyncio.gather(*(client.gql(NAMED, label=label) for label in labels))
    codes = [error["extensions"]["code"] for error in answers[1].json()["errors"]]
    assert codes == ["INTERNAL_SERVER_ERROR"]
    for n in (0, 2, 3):
        assert "errors" not in answers[n].json()
    rows = await db.fetch("SELECT label FROM user_sessions ORDER BY label")
    assert [row["label"] for row in rows] == ["good-1", "good-2", "good-3"]
    assert await db.fetchval("SELECT count(*) FROM users") == 3


async def test_a_taken_name_is_passed_over_in_company_too(
    client: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["same", "same", "own-1", "same", "same", "own-2"] * 3)
    monkeypatch.setattr(
        "resolvers.beginnings.names.username_candidates",
        lambda: (next(drawn), next(drawn), next(drawn)),
    )
    await asyncio.gather(*(client.data(CREATE) for _ in range(2)))
    names = {row["username"] for row in await db.fetch("SELECT username FROM users")}
    assert len(names) == 2
    assert "same" in names


async def test_the_limit_of_guests_is_exact_in_company(start_app: Any, db: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=5)
    answers = await asyncio.gather(*(client.gql(CREATE) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    assert await db.fetchval("SELECT count(*) FROM users") == 5


async def test_a_deadline_is_only_whose_it_is(start_app: Any, db: Any) -> None:
    client = await start_app(DATABASE_TIMEOUT=1)
    many = await guests(client, 3)
    async with db.transaction():
        await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", UUID(many[0].user_id))
        answers = await asyncio.gather(*(client.gql(SIGN_OUT, token=g.token) for g in many))
    assert [answer.status_code for answer in answers] == [503, 200, 200]
    assert (await client.gql(ME, token=many[0].token)).status_code == 200


async def test_whoever_calls_off_a_write_takes_nobody_along(
    client: Any, db: Any, until_waiting: Any
) -> None:
    async with db.transaction():
        await db.execute("LOCK TABLE usernames IN SHARE MODE")
        requests = [asyncio.ensure_future(client.data(CREATE)) for _ in range(4)]
        await until_waiting(*requests)
        requests[1].cancel()
    answers: list[Any] = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(answers.pop(1), asyncio.CancelledError)
    for one in answers:
        token = one["createSession"]["token"]
        assert (await client.gql(ME, token=token)).status_code == 200


async def test_on_a_distributed_postgresql_everybody_writes_alone(
    client: Any, db: Any, statements: list[str]
) -> None:
    """Citus has this table on every node."""
    await db.execute("CREATE TABLE pg_dist_node (nodeid int)")
    await asyncio.gather(*(client.guest() for _ in range(4)))
    many = await guests(client, 4)
    assert len(begun(statements)) == 8
    statements.clear()
    await asyncio.gather(*(client.data(SIGN_OUT, token=guest.token) for guest in many))
    assert len(ended(statements)) == 4
