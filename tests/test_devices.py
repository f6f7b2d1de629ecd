"""What a person sees of their devices: client, label, address; and what is kept of the latter."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from background.cleanup import Cleanup
from db.engine import Database

CLIENT = "{ currentSession { label client { userAgent name os deviceType ipAddress } } }"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
IPAD = IPHONE.replace("iPhone; CPU iPhone OS", "iPad; CPU OS")
PIXEL = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/127.0.0.0 Mobile Safari/537.36"
)
EDGE = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36 Edg/127.0.0.0"
)


async def seen_by(client: Any, **headers: str) -> Any:
    """What a guest who came with these headers sees of its own session."""
    created = await client.http.post("/session", headers=headers)
    seen = await client.data(CLIENT, token=created.json()["token"])
    return seen["currentSession"]["client"]


@pytest.mark.parametrize(
    ("user_agent", "name", "os", "kind"),
    [
        (FIREFOX, "Firefox", "Linux", "desktop"),
        (EDGE, "Edge", "Windows", "desktop"),
        (IPHONE, "Mobile Safari", "iOS", "mobile"),
        (IPAD, "Mobile Safari", "iOS", "tablet"),
        (PIXEL, "Chrome Mobile", "Android", "mobile"),
        ("curl/8.5.0", "curl", None, None),
        ("Googlebot/2.1 (+http://www.google.com/bot.html)", "Googlebot", None, "bot"),
        ("something of ours", None, None, None),
    ],
)
async def test_a_device_is_known_by_its_user_agent(
    client: Any, user_agent: str, name: str | None, os: str | None, kind: str | None
) -> None:
    seen = await seen_by(client, **{"User-Agent": user_agent})
    assert seen["userAgent"] == user_agent
    assert (seen["name"], seen["os"], seen["deviceType"]) == (name, os, kind)


async def test_a_user_agent_is_bounded_and_printable(client: Any) -> None:
    seen = await seen_by(client, **{"User-Agent": "x" * 5_000})
    assert seen["userAgent"] == "x" * 512
    seen = await seen_by(client, **{"User-Agent": "a\tb\x1f"})
    assert seen["userAgent"] == "ab"


async def test_without_a_user_agent_nothing_is_known(client: Any) -> None:
    seen = await seen_by(client, **{"User-Agent": ""})
    assert (seen["userAgent"], seen["name"], seen["os"], seen["deviceType"]) == (None,) * 4


async def test_each_device_keeps_its_own(client: Any) -> None:
    first = await client.guest()
    code = await client.link_code(first)
    client.http.headers["User-Agent"] = IPHONE
    await client.redeem(code)
    listed = await client.data("{ mySessions { isCurrent client { name } } }", token=first.token)
    names = {s["isCurrent"]: s["client"]["name"] for s in listed["mySessions"]}
    assert names[False] == "Mobile Safari"
    assert names[True] != "Mobile Safari"


# The address.

FORWARDED = {"X-Forwarded-For": "203.0.113.77"}


async def test_the_address_is_the_peers_unless_a_trusted_proxy_says_otherwise(
    start_app: Any,
) -> None:
    plain = await start_app()
    assert (await seen_by(plain, **FORWARDED))["ipAddress"] == "127.0.0.1"
    trusting = await start_app(TRUSTED_PROXIES=("127.0.0.1",))
    assert (await seen_by(trusting, **FORWARDED))["ipAddress"] == "203.0.113.77"
    two = {"X-Forwarded-For": "198.51.100.9, 203.0.113.77"}  # the first is the client's own word
    assert (await seen_by(trusting, **two))["ipAddress"] == "203.0.113.77"


@pytest.mark.parametrize(
    ("detail", "address", "shown"),
    [
        ("full", "203.0.113.77", "203.0.113.77"),
        ("full", "2001:db8:1:2::7", "2001:db8:1:2::7"),
        ("full", "::ffff:203.0.113.77", "203.0.113.77"),
        ("masked", "203.0.113.77", "203.0.113.0/24"),
        ("masked", "2001:db8:1:2::7", "2001:db8:1::/48"),
        ("off", "203.0.113.77", None),
    ],
)
async def test_policy_says_how_much_of_an_address_is_kept(
    start_app: Any, db: Any, detail: str, address: str, shown: str | None
) -> None:
    client = await start_app(TRUSTED_PROXIES=("127.0.0.1",), SESSION_ADDRESS=detail)
    seen = await seen_by(client, **{"X-Forwarded-For": address})
    assert seen["ipAddress"] == shown
    kept = await db.fetchval("SELECT ip_address FROM user_sessions")
    assert (str(kept) if kept else None) == shown


async def test_the_address_is_the_last_uses(start_app: Any) -> None:
    client = await start_app(TRUSTED_PROXIES=("127.0.0.1",), SESSION_ACTIVITY_RESOLUTION=1)
    guest = await client.guest()
    for address in ("203.0.113.1", "198.51.100.2"):
        headers = {"X-Forwarded-For": address}
        await client.gql("{ viewer { id } }", token=guest.token, headers=headers)
        await client.flush()
        seen = await client.data(CLIENT, token=guest.token)
        assert seen["currentSession"]["client"]["ipAddress"] == address


async def test_switched_off_the_address_goes_as_sessions_are_used(start_app: Any) -> None:
    before = await start_app()
    guest = await before.guest()
    after = await start_app(SESSION_ADDRESS="off")
    await after.gql("{ viewer { id } }", token=guest.token)
    await after.flush()
    seen = await after.data(CLIENT, token=guest.token)
    assert seen["currentSession"]["client"]["ipAddress"] is None


@pytest.mark.parametrize(("retention", "kept"), [(timedelta(hours=1), 1), (None, 2)])
async def test_an_address_is_wiped_after_its_retention(
    client: Any, db: Any, database_url: str, retention: timedelta | None, kept: int
) -> None:
    old, _new = await client.guest(), await client.guest()
    await db.execute(
        "UPDATE user_sessions SET last_active_at = now() - interval '2 h' WHERE id = $1",
        UUID(old.session_id),
    )
    database = Database(database_url, timeout=20, pool_size=1)
    cleanup = Cleanup(database, timedelta(days=30), retention, timedelta(days=90))
    await cleanup.run(budget=None)
    await database.close()
    assert (
        await db.fetchval("SELECT count(*) FROM user_sessions WHERE ip_address IS NOT NULL") == kept
    )
    assert cleanup.addresses_wiped == 2 - kept
    assert await db.fetchval("SELECT count(*) FROM user_sessions") == 2


# The label.

RENAME = """mutation($id: ID!, $label: String!) { renameSession(id: $id, label: $label) {
    session { id label isCurrent } userErrors { code message path } } }"""


async def rename(client: Any, token: str, session_id: str, label: str) -> Any:
    sent = await client.data(RENAME, token=token, id=session_id, label=label)
    return sent["renameSession"]


async def test_generated_labels_avoid_the_users_live_ones(
    client: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["red-fox", "red-fox", "red-fox", "blue-owl", "blue-owl", "red-fox", "old-elk"])
    monkeypatch.setattr("auth.names.two_words", lambda: next(drawn))
    monkeypatch.setattr("auth.names.username_candidates", lambda: ("someone",))
    guest = await client.guest()
    await client.device(guest)
    await client.device(guest)
    labels = await db.fetch("SELECT label FROM user_sessions ORDER BY created_at")
    assert [row["label"] for row in labels] == ["red-fox", "blue-owl", "old-elk"]


async def test_labels_chosen_at_once_differ(
    client: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are chosen under the lock of the user's row."""
    words = [f"label-{n}" for n in range(4)]
    calls = iter(range(10_000))
    monkeypatch.setattr("auth.names.two_words", lambda: words[next(calls) % 4])
    monkeypatch.setattr("auth.names.username_candidates", lambda: ("someone",))
    guest = await client.guest()
    codes = [await client.link_code(guest) for _ in range(3)]
    await asyncio.gather(*map(client.redeem, codes))
    labels = await db.fetch("SELECT label FROM user_sessions")
    assert sorted(row["label"] for row in labels) == words


async def test_ones_own_label_may_repeat(client: Any) -> None:
    guest = await client.guest()
    created = await client.redeem(await client.link_code(guest), label="phone")
    again = await client.redeem(await client.link_code(guest), label="phone")
    assert created["session"]["label"] == again["session"]["label"] == "phone"


async def test_a_session_is_renamed_the_current_one_too(client: Any) -> None:
    first = await client.guest()
    second = await client.device(first)
    for target, is_current in ((first, True), (second, False)):
        done = await rename(client, first.token, target.session_id, "  my phone \N{OTTER} ")
        assert done["userErrors"] == []
        assert done["session"] == {
            "id": target.session_id,
            "label": "my phone \N{OTTER}",
            "isCurrent": is_current,
        }
    listed = await client.data("{ mySessions { label } }", token=second.token)
    assert {s["label"] for s in listed["mySessions"]} == {"my phone \N{OTTER}"}


@pytest.mark.parametrize("label", ["", "   ", "x" * 65, "a\nb", "a\x1bb", "\u2028"])
async def test_what_is_no_label_changes_nothing(client: Any, db: Any, label: str) -> None:
    guest = await client.guest()
    before = await db.fetchval("SELECT label FROM user_sessions")
    done = await rename(client, guest.token, guest.session_id, label)
    assert done["session"] is None
    assert [(e["code"], e["path"]) for e in done["userErrors"]] == [("INVALID_LABEL", ["label"])]
    assert await db.fetchval("SELECT label FROM user_sessions") == before


async def test_foreign_unknown_ended_and_senseless_ids_are_not_found(client: Any, db: Any) -> None:
    guest, other = await client.guest(), await client.guest()
    ended = await client.device(guest)
    await client.gql("mutation { revokeSession { status } }", token=ended.token)
    before = await db.fetch("SELECT id, label FROM user_sessions ORDER BY id")
    ids = [other.session_id, "01900000-0000-7000-8000-000000000000", ended.session_id, "x", ""]
    told = [await rename(client, guest.token, session_id, "mine") for session_id in ids]
    assert all(answer == told[0] for answer in told)
    assert (told[0]["session"], told[0]["userErrors"][0]["code"]) == (None, "NOT_FOUND")
    assert await db.fetch("SELECT id, label FROM user_sessions ORDER BY id") == before
