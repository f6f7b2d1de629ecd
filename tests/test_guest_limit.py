"""GUEST_RATE_LIMIT: guests of one network a minute, counted by all workers together."""

import asyncio
from typing import Any

import pytest

CREATE = "mutation { createSession { token } }"
PROXIES = {"TRUSTED_PROXIES": ("127.0.0.1",)}


async def make(client: Any, address: str = "203.0.113.7") -> Any:
    return await client.gql(CREATE, headers={"X-Forwarded-For": address})


async def test_over_the_limit_the_answer_is_429(start_app: Any, db: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=3, **PROXIES)
    assert [(await make(client)).status_code for _ in range(3)] == [200] * 3
    response = await make(client)
    assert response.status_code == 429
    assert "data" not in response.json()
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert error["extensions"]["hint"]
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert await db.fetchval("SELECT count(*) FROM users") == 3


async def test_rest_is_counted_with_it(start_app: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=2, **PROXIES)
    headers = {"X-Forwarded-For": "203.0.113.7"}
    assert (await make(client)).status_code == 200
    assert (await client.http.post("/session", headers=headers)).status_code == 201
    response = await client.http.post("/session", headers=headers)
    assert response.status_code == 429
    assert response.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert response.headers["Retry-After"]
    assert (await make(client)).status_code == 429


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
    ],
)
async def test_a_network_is_an_ipv4_address_or_an_ipv6_64(
    start_app: Any, one: str, other: str, *, together: bool
) -> None:
    client = await start_app(GUEST_RATE_LIMIT=1, **PROXIES)
    assert (await make(client, one)).status_code == 200
    assert (await make(client, other)).status_code == (429 if together else 200)


async def test_guests_of_one_moment_are_counted_with_their_own_networks(
    start_app: Any, statements: list[str]
) -> None:
    client = await start_app(GUEST_RATE_LIMIT=3, **PROXIES)
    await make(client, "203.0.113.1")
    statements.clear()
    addresses = ["203.0.113.1"] * 4 + ["203.0.113.2"] * 5 + ["203.0.113.3"]
    for left in (2 + 3 + 1, 0 + 0 + 1):
        answers = await asyncio.gather(*(make(client, address) for address in addresses))
        assert sorted(answer.status_code for answer in answers) == [200] * left + [429] * (
            10 - left
        )
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in refused)
    assert len([sent for sent in statements if "INTO rate_counts" in sent]) <= 6


async def test_a_guest_whose_name_another_took_at_that_moment_counts_once(
    start_app: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start_app(GUEST_RATE_LIMIT=2, **PROXIES)
    drawn = iter([("same",), ("same",), ("other",), ("third",)])
    monkeypatch.setattr("auth.names.username_candidates", lambda: next(drawn))
    answers = await asyncio.gather(make(client), make(client))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (await make(client)).status_code == 429
    assert await db.fetchval("SELECT count(*) FROM users") == 2


async def test_the_next_minute_is_another(start_app: Any, db: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=1, **PROXIES)
    await make(client)
    assert (await make(client)).status_code == 429
    await db.execute("UPDATE rate_counts SET ends_at = now()")
    assert (await make(client)).status_code == 200
    assert (await make(client)).status_code == 429


async def test_all_workers_count_together_exactly(start_app: Any, db: Any) -> None:
    workers = [await start_app(GUEST_RATE_LIMIT=10, **PROXIES) for _ in range(2)]
    answers = await asyncio.gather(*(make(workers[n % 2]) for n in range(30)))
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 20
    assert await db.fetchval("SELECT count(*) FROM users") == 10


async def test_0_is_off(start_app: Any, db: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=0, **PROXIES)
    assert [(await make(client)).status_code for _ in range(70)] == [200] * 70
    assert await db.fetchval("SELECT count(*) FROM rate_counts WHERE key LIKE 'guest %'") == 0


async def test_whoever_proves_who_they_are_is_not_counted(start_app: Any) -> None:
    client = await start_app(GUEST_RATE_LIMIT=1)
    guest = await client.guest()
    assert [(await client.device(guest)).user_id for _ in range(3)] == [guest.user_id] * 3


async def test_the_default_is_60(start_app: Any) -> None:
    from settings import Settings  # noqa: PLC0415 - to name what is tested beside the test

    assert Settings.model_fields["GUEST_RATE_LIMIT"].default == 60
    client = await start_app(GUEST_RATE_LIMIT=60, **PROXIES)
    assert [(await make(client)).status_code for _ in range(61)] == [200] * 60 + [429]
