"""createSession: a guest, its name, its session, its token."""

import asyncio
import json
import re
from base64 import urlsafe_b64decode
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from auth import names

EVERYTHING = """
mutation Create($input: CreateSessionInput) {
  createSession(input: $input) {
    token tokenType expiresAt userErrors { code message path }
    session {
      id label status isCurrent createdAt lastActiveAt authenticatedAt expiresAt
      revokedAt revokedReason user { id username isGuest createdAt }
    }
  }
}
"""


async def create(client: Any, label: object = None, **more: Any) -> Any:
    sent = {"label": label} if label is not None else None
    return (await client.data(EVERYTHING, input=sent, **more))["createSession"]


async def test_a_guest_gets_a_token_a_session_and_a_two_word_name(client: Any) -> None:
    made = await create(client)
    session, user = made["session"], made["session"]["user"]
    assert made["tokenType"] == "Bearer"
    assert made["userErrors"] == []
    assert made["expiresAt"] == session["expiresAt"]
    assert session["status"] == "ACTIVE"
    assert session["isCurrent"] is True
    assert session["revokedAt"] is session["revokedReason"] is None
    assert session["createdAt"] == session["lastActiveAt"] == session["authenticatedAt"]
    assert re.fullmatch(r"[a-z]+-[a-z]+", session["label"])
    assert user["isGuest"] is True
    assert re.fullmatch(r"[a-z]+-[a-z]+", user["username"])


async def test_ids_are_uuids_of_version_7(client: Any) -> None:
    guest = await client.guest()
    assert {UUID(guest.session_id).version, UUID(guest.user_id).version} == {7}


async def test_the_token_says_who_and_until_when_and_nothing_else(client: Any) -> None:
    made = await create(client)
    header, payload, _ = (
        urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in made["token"].split(".")
    )
    claims = json.loads(payload)
    created = datetime.fromisoformat(made["session"]["createdAt"]).timestamp()
    assert json.loads(header)["typ"] == "at+jwt"
    assert set(claims) == {
        "iss", "aud", "client_id", "sub", "sid", "jti", "iat", "nbf", "exp",
    }  # fmt: skip
    assert claims["sub"] == made["session"]["user"]["id"]
    assert claims["sid"] == made["session"]["id"]
    assert claims["iat"] == claims["nbf"] == int(created)
    assert claims["exp"] == int(datetime.fromisoformat(made["expiresAt"]).timestamp())


async def test_the_deadline_is_the_policy_of_the_moment_of_creation(
    start_app: Any, db: Any
) -> None:
    short = await start_app(SESSION_ABSOLUTE_LIFETIME=3600)
    guest = await short.guest()
    longer = await start_app(SESSION_ABSOLUTE_LIFETIME=7200)
    assert await longer.data("{ viewer { id } }", token=guest.token)
    row = await db.fetchrow("SELECT expires_at - created_at AS life FROM user_sessions")
    assert row["life"].total_seconds() == 3600
    policy = await longer.data("{ sessionPolicy { absoluteLifetime retention } }")
    assert policy["sessionPolicy"] == {"absoluteLifetime": 7200, "retention": 2592000}


async def test_each_guest_is_a_user_of_its_own(client: Any) -> None:
    one, other = await client.guest(), await client.guest()
    assert one.user_id != other.user_id
    listed = await client.data("{ mySessions { id } }", token=one.token)
    assert [session["id"] for session in listed["mySessions"]] == [one.session_id]


async def test_a_signed_in_callers_session_is_left_alone(client: Any) -> None:
    caller = await client.guest()
    made = await create(client, token=caller.token)
    assert made["session"]["user"]["id"] != caller.user_id
    assert (await client.data("{ viewer { id } }", token=caller.token))["viewer"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Ada's phone", "Ada's phone"),
        ("  trimmed  ", "trimmed"),
        ("x" * 64, "x" * 64),
        ("📱👩‍💻", "📱👩‍💻"),
        ("élan", "élan"),
    ],
)
async def test_a_label_of_ones_own_is_kept(client: Any, sent: str, kept: str) -> None:
    made = await create(client, sent)
    assert made["session"]["label"] == kept


@pytest.mark.parametrize(
    "label", ["", "   ", "x" * 65, "a\tb", "a\nb", "\x7f", "a\u2028b", "\x1b["]
)
async def test_a_label_that_is_none_is_mendable_and_changes_nothing(
    client: Any, db: Any, label: str
) -> None:
    made = await create(client, label)
    assert made["token"] is made["session"] is made["expiresAt"] is None
    assert made["userErrors"] == [
        {
            "code": "INVALID_LABEL",
            "message": "A label has 1 to 64 characters and no control characters.",
            "path": ["input", "label"],
        }
    ]
    assert await db.fetchval("SELECT count(*) FROM users") == 0
    assert await db.fetchval("SELECT count(*) FROM usernames") == 0


@pytest.mark.parametrize("sent", [None, {}, {"label": None}])
async def test_null_and_absent_are_one(client: Any, sent: object) -> None:
    made = (await client.data(EVERYTHING, input=sent))["createSession"]
    assert made["token"]


async def test_parallel_guests_all_get_different_names(client: Any, db: Any) -> None:
    await asyncio.gather(*(client.guest() for _ in range(60)))
    users, distinct, directory = await db.fetchrow(
        """SELECT (SELECT count(*) FROM users), (SELECT count(DISTINCT lower(username)) FROM users),
                  (SELECT count(*) FROM usernames)"""
    )
    assert users == distinct == directory == 60


async def test_names_go_on_when_the_two_words_run_out(
    client: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "two_words", lambda: "only-one")  # a world with one name
    await asyncio.gather(*(client.guest() for _ in range(40)))
    taken = {row["username"] for row in await db.fetch("SELECT username FROM users")}
    assert len(taken) == 40
    assert "only-one" in taken
    assert all(re.fullmatch(r"only-one(-\d{4}|-\d{8})?", name) for name in taken)


async def test_a_users_name_is_in_the_directory_in_lower_case(client: Any, db: Any) -> None:
    guest = await client.guest()
    row = await db.fetchrow("SELECT user_id, username_key FROM usernames")
    user = await db.fetchrow("SELECT id, username FROM users")
    assert row["user_id"] == user["id"] == UUID(guest.user_id)
    assert row["username_key"] == user["username"].lower()
