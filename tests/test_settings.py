"""Settings: what is accepted from the environment, and what is refused by name."""

import asyncio
import base64
import math
import random
import socket
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from auth import keys
from db.url import DatabaseUrlError, connect_arguments, without_password
from server import database
from settings import SessionLimitAction, Settings, SettingsError, load

GOOD = "Zx8Kq0vP3nLmT7yRwB2dHsJf9aGcEuXo"
CONTRACT = {
    "DATABASE_URL": "postgresql://host/db",
    "JWT_SECRET": GOOD,
    "HOST": "::1",
    "PORT": "1",
    "WORKERS": "4",
    "ALLOWED_ORIGINS": "https://app.example.com, http://localhost:3000",
    "TRUSTED_PROXIES": "10.0.0.1,fd00::/8",
    "SESSION_ABSOLUTE_LIFETIME": "60",
    "SESSION_IDLE_TIMEOUT": "0",
    "SESSION_MAX_PER_USER": "3",
    "SESSION_ON_LIMIT": "REJECT",
    "SESSION_ACTIVITY_RESOLUTION": "5",
    "SESSION_RETENTION": "7",
    "SESSION_FRESH_FOR": "0",
    "GUEST_RATE_LIMIT": "0",
    "SHUTDOWN_DELAY": "5",
    "DATABASE_POOLER": "transaction",
    "LISTEN_URL": "postgresql://other/db",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that holds no setting of ours."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def refusal(environment: pytest.MonkeyPatch, **values: str) -> str:
    """What is said when these are set."""
    for name, value in values.items():
        environment.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load()
    return str(refused.value)


# Names


def test_every_setting_of_the_contract_is_accepted(environment: pytest.MonkeyPatch) -> None:
    """From the environment, as what it means."""
    for name, value in CONTRACT.items():
        environment.setenv(name, value)
    settings = load()
    assert settings.ALLOWED_ORIGINS == ("https://app.example.com", "http://localhost:3000")
    assert settings.TRUSTED_PROXIES == ("10.0.0.1", "fd00::/8")
    assert settings.SESSION_ON_LIMIT is SessionLimitAction.REJECT
    assert (settings.WORKERS, settings.SESSION_IDLE_TIMEOUT) == (4, 0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKRES", "WORKERS"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("JWT_SECRT", "JWT_SECRET"),
        ("PROT", "PORT"),
        ("HSOT", "HOST"),
        ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
        ("SESSION_IDLE_TIMEOUTS", "SESSION_IDLE_TIMEOUT"),
    ],
)
def test_a_misspelt_name_is_refused(environment: pytest.MonkeyPatch, name: str, meant: str) -> None:
    """With the one that was probably meant, and without its value."""
    said = refusal(environment, **{name: "hunter22"})
    assert said == f"{name} is not a setting of this server; did you mean {meant}?"


@pytest.mark.parametrize("name", ["JWT_COLOUR", "GUEST_HOUSE_RULES", "SESSION_WEATHER"])
def test_an_unknown_name_that_begins_like_ours_is_refused(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    """A policy that nobody enforces must not seem to be set."""
    assert name in refusal(environment, **{name: "1"})


@pytest.mark.parametrize(
    "name", ["SESSION_MANAGER", "HOME", "PGHOST", "PGPORT", "OS", "PATH", "TERM", "HOSTNAME"]
)
def test_names_of_others_are_let_be(environment: pytest.MonkeyPatch, name: str) -> None:
    """Desktops, shells and PostgreSQL set them."""
    environment.setenv(name, "whatever")
    load()


def test_an_empty_value_is_the_default(environment: pytest.MonkeyPatch) -> None:
    """`DATABASE_URL= make serve` is the embedded database."""
    for name in CONTRACT:
        environment.setenv(name, "")
    assert load() == Settings()


# Values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("WORKERS", "0"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_ORIGINS", "https://app.example.com/"),
        ("ALLOWED_ORIGINS", "https://app.example.com/path"),
        ("ALLOWED_ORIGINS", "https://app.example.com:443"),
        ("ALLOWED_ORIGINS", "https://App.example.com"),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("ALLOWED_ORIGINS", "https://*.example.com/"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TRUSTED_PROXIES", "::/0"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SESSION_ABSOLUTE_LIFETIME", "0"),
        ("SESSION_ON_LIMIT", "PANIC"),
        ("SESSION_RETENTION", "-1"),
        ("DATABASE_POOLER", "session"),
        ("MIGRATE_ON_START", "perhaps"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """One line, that begins with the name."""
    said = refusal(environment, **{name: value})
    assert said.startswith(f"{name}: ")
    assert "\n" not in said


def test_all_problems_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    """Names and values, and every bad item of a list."""
    said = refusal(
        environment, WORKRES="1", PORT="abc", TRUSTED_PROXIES="junk,10.0.0.1,trash"
    ).splitlines()
    assert len(said) == 3
    assert "'junk', 'trash'" in said[2]


# Secrets


def judge(url: str | None, secret: str | None) -> None:
    """Judges a URL and a secret as the start does."""
    database.refuse_unusable(
        Settings(
            DATABASE_URL=SecretStr(url) if url else None,
            JWT_SECRET=SecretStr(secret) if secret else None,
        )
    )


@pytest.mark.parametrize(
    "secret",
    [
        "tooshort",
        "your-secret-key-change-in-production",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg=",
        "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
        "keyboard cat keyboard cat keyboard cat",
        "correct horse battery staple correct horse",
        "pensive otters juggle violet umbrellas at noon",
        "MySuperStrongKeyForTheProduction2024",
        "Zx8Kq0vP3nLm" * 4,
        "a" * 64,
        f"-----BEGIN PRIVATE KEY-----\n{GOOD}",
        f'{{"kty": "oct", "k": "{GOOD}"}}',
    ],
)
def test_a_weak_secret_is_refused(secret: str) -> None:
    """Saying how to make a good one, not quoting it."""
    with pytest.raises(SettingsError) as refused:
        judge(None, secret)
    assert "openssl rand" in str(refused.value)
    assert secret not in str(refused.value)


def test_url_and_secret_are_judged_together() -> None:
    """Both in one message."""
    with pytest.raises(SettingsError) as refused:
        judge("mysql://host/db", "short")
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize(
    "spell",
    [
        lambda chosen: base64.b64encode(chosen.randbytes(48)).decode(),
        lambda chosen: chosen.randbytes(32).hex(),
        lambda chosen: base64.urlsafe_b64encode(chosen.randbytes(48)).decode(),
        lambda chosen: base64.encodebytes(chosen.randbytes(64)).decode(),
    ],
    ids=[
        "openssl rand -base64 48",
        "openssl rand -hex 32",
        "secrets.token_urlsafe(48)",
        "openssl rand -base64 64, which is two lines",
    ],
)
def test_random_secrets_are_accepted(spell: Callable[[random.Random], str]) -> None:
    """Two thousand of them, the same at every run."""
    chosen = random.Random(1)  # noqa: S311 - the same ones at every run
    for _ in range(2000):
        keys.refuse_weak(spell(chosen))


def test_a_random_secret_seldom_holds_a_sample_word() -> None:
    """Less than once in a hundred thousand, in 64 characters of base64 of which case is ignored."""
    expected = sum(
        (65 - len(word)) * math.prod((2 if c.isalpha() else 1) / 64 for c in word)
        for word in keys.SAMPLE_WORDS
    )
    assert expected < 1e-5


# DATABASE_URL


async def whoami(url: str) -> object:
    """The user of a connection made as the server makes it."""
    arguments = connect_arguments(url, timeout=4)
    connection = await arguments.pop("async_creator_fn")(**arguments)
    try:
        return await connection.fetchval("SELECT current_user")
    finally:
        await connection.close()


def spelt(url: str, scheme: str = "postgresql", before: str = "", parameters: str = "") -> str:
    """The test's database in libpq's longest form, with a host (host:port) before its own."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host, port = query.get("host", parts.hostname or ""), query.get("port", parts.port or 5432)
    first, _, first_port = before.rpartition(":")
    hosts, ports = (f"{first},{host}", f"{first_port},{port}") if before else (host, port)
    user = parts.netloc.rpartition("@")[0]
    return f"{scheme}://{user}@{parts.path}?host={quote(hosts)}&port={ports}&{parameters}"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_each_scheme_connects(database_url: str, scheme: str) -> None:
    """People and hosters write all three."""
    assert await whoami(spelt(database_url, scheme))


@pytest.mark.parametrize(
    "parameters",
    [
        "sslmode=disable",
        "sslmode=prefer",
        "connect_timeout=3",
        "connect_timeout=0",
        "channel_binding=require",
        "application_name=mine&target_session_attrs=read-write",
    ],
)
async def test_each_parameter_connects(database_url: str, parameters: str) -> None:
    """Hosted URLs carry them."""
    assert await whoami(spelt(database_url, parameters=parameters))


async def test_a_dead_host_is_passed_over(database_url: str) -> None:
    """Nobody listens there."""
    parameters = "target_session_attrs=read-write"
    assert await whoami(spelt(database_url, before="127.0.0.1:1", parameters=parameters))


async def test_a_host_that_hangs_is_passed_over(database_url: str) -> None:
    """It takes the connection and says nothing; the second one has time left."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert await whoami(spelt(database_url, before=f"127.0.0.1:{silent.getsockname()[1]}"))


async def test_a_password_arrives_as_it_was_meant() -> None:
    """Every character that means something in a URL, percent-encoded."""
    password = "p@s:s/w?o#r%d [x]&=+,é"
    heard = asyncio.Queue[bytes]()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """PostgreSQL's protocol up to a password in clear."""
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        writer.write(b"R\0\0\0\x08\0\0\0\x03")
        await reader.readexactly(5)
        heard.put_nowait(await reader.readuntil(b"\0"))
        writer.close()

    async with await asyncio.start_server(ask, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://me:{quote(password, safe='')}@127.0.0.1:{port}/db?sslmode=disable"
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await whoami(url)
        assert (await heard.get())[:-1].decode() == password


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://me:hunter22@host/db?pgbouncer=true", "pgbouncer"),
        ("postgresql://me:hunter22@host/db?options=-csearch_path%3Dx", "options"),
        ("postgresql://me:hunter22@host/db?sslmode=on", "sslmode"),
        ("postgresql://me:hunter22@host/db?sslrootcert=/nowhere", "sslrootcert"),
        ("postgresql://me:hunter22@host/db?target_session_attrs=master", "target_session_attrs"),
        ("postgresql://me:hunter22@host/db?connect_timeout=soon", "connect_timeout"),
        ("postgresql://me:hunter22@/db?host=a,b&port=1,2,3", "port"),
        ("postgresql://me:hunter22@/db?host=a&port=70000", "port"),
        ("postgresql://me:hunter22@host:70000/db", "port"),
        ("postgresql://me:hunter22@host:0/db", "port"),
        ("mysql://me:hunter22@host/db", "postgresql://"),
        ("hunter22", "postgresql://"),
        ("postgresql://me:hunter@22@host/db", "%40"),
        ("postgresql://me:hunter/22@host/db", "%2F"),
        ("postgresql://me:hunter?22@host/db", "%3F"),
        ("postgresql://me:hunter#22@host/db", "%23"),
        ("postgresql://me:hunter[22@host/db", "%5B"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, named: str) -> None:
    """At start, by the name of what is wrong, without the password."""
    with pytest.raises(DatabaseUrlError) as refused:
        connect_arguments(url, timeout=5)
    assert named in str(refused.value)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter22@one:1,two:2/db?sslmode=require", "postgresql://one:1,two:2/db"),
        ("postgres://me@/db?host=%2Frun%2Fpg&password=hunter22", "db at /run/pg"),
        ("postgres:///db?host=a,b&port=1,2&password=hunter22", "db at a,b, port 1,2"),
        ("postgresql://me:hunter22@%2Frun%2Fpg/db", "postgresql:///run/pg/db"),
        ("postgresql://me:hunter22@[::1]/my%20db", "postgresql://[::1]/my db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """Nor the user."""
    assert without_password(url) == shown
