"""revokeSession: from the moment it has answered, the token is dead."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

REVOKE = """mutation Revoke($id: ID) {
  revokeSession(id: $id) { status session { id status revokedAt revokedReason isCurrent } }
}"""
ME = "{ viewer { id } }"


async def revoke(client: Any, token: str, session_id: str | None = None) -> Any:
    return (await client.data(REVOKE, token=token, id=session_id))["revokeSession"]


async def test_a_revoked_token_is_refused_although_its_signature_is_good(client: Any) -> None:
    guest = await client.guest()
    assert (await client.gql(ME, token=guest.token)).status_code == 200
    ended = await revoke(client, guest.token)
    refused = await client.gql(ME, token=guest.token)
    assert ended["status"] == "REVOKED"
    assert refused.status_code == 401
    error = refused.json()["errors"][0]["extensions"]
    assert error["reason"] == "SESSION_REVOKED"
    assert error["revokedReason"] == "SIGNED_OUT"
    assert error["revokedAt"] == ended["session"]["revokedAt"]


async def test_without_an_id_it_signs_out(client: Any) -> None:
    guest = await client.guest()
    ended = await revoke(client, guest.token)
    assert ended["session"]["id"] == guest.session_id
    assert ended["session"]["revokedReason"] == "SIGNED_OUT"
    assert ended["session"]["isCurrent"] is True


async def test_ones_own_session_by_id_is_signing_out_too(client: Any) -> None:
    guest = await client.guest()
    ended = await revoke(client, guest.token, guest.session_id)
    assert ended["session"]["revokedReason"] == "SIGNED_OUT"


async def test_another_device_is_ended_by_its_user(client: Any, add_session: Any, db: Any) -> None:
    here = await client.guest()
    there = await add_session(here)
    ended = await revoke(client, here.token, there.session_id)
    assert ended["status"] == "REVOKED"
    assert ended["session"]["revokedReason"] == "REVOKED_BY_USER"
    assert ended["session"]["isCurrent"] is False
    assert (await client.gql(ME, token=there.token)).status_code == 401
    assert (await client.gql(ME, token=here.token)).status_code == 200
    by = await db.fetchval("SELECT revoked_by FROM user_sessions WHERE id = $1", there.session_id)
    assert str(by) == here.session_id


async def test_ending_twice_changes_nothing_the_second_time(client: Any, add_session: Any) -> None:
    here = await client.guest()
    there = await add_session(here)
    first = await revoke(client, here.token, there.session_id)
    second = await revoke(client, here.token, there.session_id)
    assert second["status"] == "ALREADY_ENDED"
    assert second["session"] == first["session"]


async def test_an_already_ended_answer_commits_a_write(
    client: Any, add_session: Any, db: Any
) -> None:
    """So that it waits for a synchronous standby, as the first answer did."""
    here = await client.guest()
    there = await add_session(here)
    await revoke(client, here.token, there.session_id)
    version = "SELECT xmin::text FROM user_sessions WHERE id = $1"
    before = await db.fetchval(version, there.session_id)
    await revoke(client, here.token, there.session_id)
    assert await db.fetchval(version, there.session_id) != before


async def test_an_expired_session_has_already_ended(client: Any, add_session: Any, db: Any) -> None:
    here = await client.guest()
    there = await add_session(here)
    await db.execute(
        """UPDATE user_sessions SET created_at = now() - interval '31 d',
                  expires_at = now() - interval '1 s' WHERE id = $1""",
        there.session_id,
    )
    ended = await revoke(client, here.token, there.session_id)
    assert ended["status"] == "ALREADY_ENDED"
    assert ended["session"]["status"] == "EXPIRED"
    assert ended["session"]["revokedAt"] is None


@pytest.mark.parametrize("spell", ["", "x", "{{{}}}", "urn:uuid:{}", "{} ", "\u0661", "a" * 5000])
async def test_what_is_no_id_is_not_found(client: Any, spell: str) -> None:
    guest = await client.guest()
    answer = await revoke(client, guest.token, spell.format(guest.session_id))
    assert answer == {"status": "NOT_FOUND", "session": None}
    assert (await client.gql(ME, token=guest.token)).status_code == 200


async def test_anothers_session_is_not_found_rather_than_forbidden(client: Any) -> None:
    caller, other = await client.guest(), await client.guest()
    foreign = await client.gql(REVOKE, token=caller.token, id=other.session_id)
    unknown = await client.gql(REVOKE, token=caller.token, id=str(uuid4()))
    assert foreign.status_code == unknown.status_code == 200
    assert foreign.content == unknown.content
    assert foreign.json()["data"]["revokeSession"]["status"] == "NOT_FOUND"
    assert (await client.gql(ME, token=other.token)).status_code == 200


async def test_of_parallel_revokes_one_ends_it_and_all_agree(client: Any, add_session: Any) -> None:
    here = await client.guest()
    there = await add_session(here)
    answers = await asyncio.gather(
        *(revoke(client, here.token, there.session_id) for _ in range(20))
    )
    statuses = [answer["status"] for answer in answers]
    assert statuses.count("REVOKED") == 1
    assert statuses.count("ALREADY_ENDED") == 19
    assert len({answer["session"]["revokedAt"] for answer in answers}) == 1


async def test_a_revocation_holds_on_every_worker_and_after_a_restart(
    start_app: Any, client: Any
) -> None:
    other_worker = await start_app()
    guest = await client.guest()
    assert (await other_worker.gql(ME, token=guest.token)).status_code == 200
    await revoke(client, guest.token)
    assert (await other_worker.gql(ME, token=guest.token)).status_code == 401
    restarted = await start_app()
    assert (await restarted.gql(ME, token=guest.token)).status_code == 401


async def test_two_sessions_that_end_each_other_never_both_survive_nor_act_after_the_end(
    client: Any, add_session: Any, db: Any
) -> None:
    for _ in range(10):
        one = await client.guest()
        other = await add_session(one)
        await asyncio.gather(
            client.gql(REVOKE, token=one.token, id=other.session_id),
            client.gql(REVOKE, token=other.token, id=one.session_id),
        )
        live = await db.fetchval(
            "SELECT count(*) FROM user_sessions WHERE user_id = $1 AND revoked_at IS NULL",
            one.user_id,
        )
        assert live == 1
