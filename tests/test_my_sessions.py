"""mySessions, viewer, currentSession: what a caller sees."""

from typing import Any

LIST = "{ mySessions { id label status isCurrent user { id } revokedAt } }"


async def test_the_list_holds_all_of_ones_live_sessions_the_current_one_first(
    client: Any, add_session: Any, db: Any
) -> None:
    first = await client.guest()
    second, third = await add_session(first, "second"), await add_session(first, "third")
    await db.execute(
        "UPDATE user_sessions SET last_active_at = now() + interval '1 s' WHERE id = $1",
        third.session_id,
    )
    listed = (await client.data(LIST, token=second.token))["mySessions"]
    assert [s["id"] for s in listed] == [second.session_id, third.session_id, first.session_id]
    assert [s["isCurrent"] for s in listed] == [True, False, False]
    assert {s["status"] for s in listed} == {"ACTIVE"}
    assert {s["user"]["id"] for s in listed} == {first.user_id}


async def test_ended_sessions_are_not_listed(client: Any, add_session: Any, db: Any) -> None:
    caller = await client.guest()
    revoked, expired = await add_session(caller), await add_session(caller)
    await client.data(
        "mutation($id: ID) { revokeSession(id: $id) { status } }",
        token=caller.token,
        id=revoked.session_id,
    )
    await db.execute(
        """UPDATE user_sessions SET created_at = now() - interval '31 d',
                  expires_at = now() - interval '1 s' WHERE id = $1""",
        expired.session_id,
    )
    listed = (await client.data(LIST, token=caller.token))["mySessions"]
    assert [s["id"] for s in listed] == [caller.session_id]


async def test_other_peoples_sessions_are_not_listed(client: Any, add_session: Any) -> None:
    caller, other = await client.guest(), await client.guest()
    await add_session(other)
    listed = (await client.data(LIST, token=caller.token))["mySessions"]
    assert [s["id"] for s in listed] == [caller.session_id]


async def test_viewer_and_current_session_are_ones_own(client: Any) -> None:
    caller = await client.guest()
    seen = await client.data(
        "{ viewer { id isGuest } currentSession { id isCurrent user { id } } }", token=caller.token
    )
    assert seen["viewer"] == {"id": caller.user_id, "isGuest": True}
    assert seen["currentSession"] == {
        "id": caller.session_id,
        "isCurrent": True,
        "user": {"id": caller.user_id},
    }


async def test_without_a_credential_viewer_and_current_session_are_null(client: Any) -> None:
    seen = await client.data("{ viewer { id } currentSession { id } }")
    assert seen == {"viewer": None, "currentSession": None}


async def test_sibling_fields_read_on_connections_of_their_own(client: Any) -> None:
    caller = await client.guest()
    fields = " ".join(f"a{i}: mySessions {{ id }}" for i in range(12))
    seen = await client.data(f"{{ {fields} }}", token=caller.token)
    assert {s["id"] for listed in seen.values() for s in listed} == {caller.session_id}
