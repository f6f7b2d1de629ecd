"""The doctor: looks at settings, keys and database as an experienced operator would.

A finding is ok, a warning (it works, but not as promised or not for long) or a failure.
"""

import getpass
import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from auth import keys, passwords, tokens
from auth.errors import Unauthenticated
from db import embedded, maintenance, migrations
from db.clock import MAX_OFFSET, Clock
from db.engine import Database, Unavailable
from server import database, secret
from server.commands import say, show_json, work
from settings import STATE, Settings, SettingsError

OLDEST_POSTGRES = 15
RESERVED = 10  # connections that others need: migrations, backups, a person with psql
BESIDE = 3  # connections of a worker that listen, tell, and read the rows of open sockets
WAL_MB, CHECKPOINT = 4096, 900  # what a write-heavy server is better off with: MB, seconds
PROTOCOL_VIOLATION = "08P01"  # what PgBouncer answers to settings with the connection
TABLES = ("users", "usernames", "user_sessions", "session_events", "link_codes")
MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    what: str
    level: str  # ok, warn or fail
    message: str


def check(settings: Settings, *, json: bool) -> bool:
    """Looks at everything and tells; whether nothing has failed."""
    findings = [*look_at_settings(settings)]
    if all(finding.level != "fail" for finding in findings):
        try:
            findings += work(settings, lambda pool: look_at_database(pool, settings))
        except (Unavailable, database.DatabaseError) as error:
            advice = (
                "PgBouncer in transaction mode? Set DATABASE_POOLER=transaction"
                if PROTOCOL_VIOLATION in str(error) and not settings.DATABASE_POOLER
                else "is DATABASE_URL right?"
            )
            findings.append(Finding("database", "fail", f"cannot answer: {error}; {advice}"))
    show(findings, json=json)
    return all(finding.level != "fail" for finding in findings)


def show(findings: list[Finding], *, json: bool) -> None:
    """The findings, for people or scripts."""
    if json:
        show_json([asdict(finding) for finding in findings])
        return
    for finding in findings:
        say(f"{MARKS[finding.level]}  {finding.what:<12} {finding.message}")


# Without a database


def look_at_settings(settings: Settings) -> Iterator[Finding]:
    """Settings and key."""
    try:
        database.refuse_unusable(settings)
    except SettingsError as error:
        yield Finding("settings", "fail", str(error))
        return
    yield Finding("settings", "ok", "all are known and usable")
    if settings.JWT_SECRET:
        kid = keys.name(settings.JWT_SECRET.get_secret_value().encode())
        yield Finding("key", "ok", f"HS256, kid {kid}")
    elif settings.DATABASE_URL is None:
        yield look_at_kept_secret()
    if settings.GUEST_RATE_LIMIT == 0:
        yield Finding("guests", "warn", "GUEST_RATE_LIMIT=0: anybody can fill the database")
    if settings.PASSWORD_MIN_LENGTH < passwords.MIN_LENGTH:
        yield Finding(
            "passwords",
            "warn",
            f"PASSWORD_MIN_LENGTH={settings.PASSWORD_MIN_LENGTH}: as the only proof a password"
            f" needs {passwords.MIN_LENGTH} characters",
        )
    if settings.DATABASE_URL and not is_encrypted(settings.DATABASE_URL.get_secret_value()):
        yield Finding(
            "tls", "warn", "the database is on another host: use sslmode=verify-full&sslrootcert=…"
        )


def look_at_kept_secret() -> Finding:
    """The secret that was generated for the embedded database."""
    file = embedded.secret_file(STATE)
    if file is None:
        return Finding("key", "ok", "HS256, to be generated beside the embedded database")
    if file.stat().st_mode & 0o077:
        return Finding("key", "fail", f"others may read {file}: chmod 600")
    try:
        keys.refuse_weak(secret.kept(file))
    except keys.WeakSecretError:
        return Finding("key", "fail", f"{file} holds no secret of ours: delete it")
    return Finding("key", "ok", "HS256, generated, kept beside the embedded database")


def is_encrypted(url: str) -> bool:
    """Whether the way to the database is on this host, or sure to lead to the right one."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", [""])[0]
    return query.get("sslmode") == ["verify-full"] or all(map(is_here, hosts.split(",")))


def is_here(host: str) -> bool:
    """Whether a host, with or without a port, is this one."""
    name = host.removeprefix("[").partition("]")[0] if "]" in host else host.partition(":")[0]
    if not name or name.startswith(("/", "%2F", "%2f")) or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# With one


async def look_at_database(pool: Database, settings: Settings) -> list[Finding]:
    """What PostgreSQL tells of itself. Raises Unavailable."""
    clock = Clock()
    condition = await clock.measure(pool)
    revision = await pool.read(maintenance.revision)
    offset = clock.offset or 0.0
    facts = await pool.read(ask)
    return [
        *version(int(facts["server_version_num"])),
        judged("primary", not condition.is_standby, "a primary", "a standby: it decides nothing"),
        judged(
            "encoding",
            condition.encoding == maintenance.ENCODING,
            maintenance.ENCODING,
            f"{condition.encoding}: make another one with `{maintenance.HOW_TO_CREATE}`",
        ),
        judged(
            "migrations",
            migrations.is_migrated(revision),
            f"at {revision}",
            "run `make migrate` (or `alembic upgrade head`)",
        ),
        judged(
            "clock",
            abs(offset) <= MAX_OFFSET,
            f"{offset:+.3f} s to the database's",
            f"{offset:+.0f} s off the database's: mend this node's",
        ),
        *durability(facts),
        *replication(facts),
        *pooler(facts, settings),
        *connections(facts, settings),
        *role(facts, settings),
        *checkpoints(facts),
    ]


def judged(what: str, good: bool, well: str, ill: str) -> Finding:  # noqa: FBT001 - the verdict
    """A finding that is one thing or the other."""
    return Finding(what, "ok" if good else "fail", well if good else ill)


async def ask(db: AsyncConnection) -> dict[str, str]:
    """PostgreSQL's settings, and a few facts beside them, by name."""
    rows = await db.execute(text("SELECT name, coalesce(setting, '') FROM pg_settings"))
    facts = {row[0]: row[1] for row in rows}
    row = (
        await db.execute(
            text("""
                SELECT r.rolsuper, has_schema_privilege(current_schema(), 'CREATE'),
                       coalesce(inet_client_port(), 0), coalesce(inet_server_port(), 0),
                       (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async'),
                       (SELECT count(*) FROM pg_stat_replication WHERE sync_state <> 'async'),
                       (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL),
                       (SELECT bool_and(has_table_privilege(t.oid, 'SELECT')
                                        AND has_table_privilege(t.oid, 'INSERT')
                                        AND has_table_privilege(t.oid, 'UPDATE')
                                        AND has_table_privilege(t.oid, 'DELETE'))
                        FROM pg_class t WHERE t.relname = ANY(:tables)
                          AND t.relnamespace = current_schema()::regnamespace)
                FROM pg_roles r WHERE r.rolname = current_user
            """),
            {"tables": list(TABLES)},
        )
    ).one()
    names = (
        "is_superuser",
        "may_create",
        "client_port",
        "server_port",
        "async",
        "sync",
        "hidden",
        "may_write",
    )
    facts |= {name: str(value) for name, value in zip(names, row, strict=True)}
    driver = (await db.get_raw_connection()).driver_connection
    ours = driver._transport.get_extra_info("sockname") if driver else None  # noqa: SLF001
    facts["our_port"] = str(ours[1]) if isinstance(ours, tuple) else "0"
    return facts


def version(number: int) -> Iterator[Finding]:
    """PostgreSQL's."""
    major = number // 10_000
    yield judged(
        "postgresql",
        major >= OLDEST_POSTGRES,
        f"version {major}",
        f"version {major}: at least {OLDEST_POSTGRES} is needed",
    )


def durability(facts: dict[str, str]) -> Iterator[Finding]:
    """Whether what was acknowledged outlives a crash."""
    off = [
        name for name in ("fsync", "full_page_writes", "synchronous_commit") if facts[name] == "off"
    ]
    yield judged(
        "durability",
        not off,
        "what is acknowledged is on disk",
        f"{', '.join(off)} = off: a crash can bring revoked sessions back",
    )


def replication(facts: dict[str, str]) -> Iterator[Finding]:
    """Whether the promise outlives a failover."""
    if facts["hidden"] != "0":
        yield Finding(
            "replication",
            "warn",
            f"{facts['hidden']} standbys, and this role may not see whether they are synchronous:"
            " GRANT pg_read_all_stats, or ask as an administrator",
        )
    elif facts["sync"] != "0" and facts["synchronous_commit"] == "local":
        yield Finding(
            "replication",
            "warn",
            "synchronous_commit = local waits for no standby: a failover can bring revoked"
            " sessions back",
        )
    elif facts["async"] != "0" and facts["sync"] == "0":
        yield Finding(
            "replication",
            "warn",
            f"{facts['async']} standbys, none synchronous: a failover can bring revoked sessions"
            " back; set synchronous_standby_names",
        )
    elif facts["sync"] != "0":
        yield Finding("replication", "ok", f"{facts['sync']} synchronous standbys")
    else:
        yield Finding("replication", "ok", "no standby: nothing fails over")


def pooler(facts: dict[str, str], settings: Settings) -> Iterator[Finding]:
    """Whether something stands between, and we know of it."""
    between = facts["our_port"] != facts["client_port"]
    told = settings.DATABASE_POOLER == "transaction"
    if between and not told:
        yield Finding(
            "pooler",
            "warn",
            "something stands between here and PostgreSQL: if it is PgBouncer in transaction mode,"
            " set DATABASE_POOLER=transaction",
        )
    elif told and facts["our_port"] == "0":
        yield Finding("pooler", "ok", "transaction mode, as set; over a socket nobody can tell")
    elif told and not between:
        yield Finding("pooler", "warn", "DATABASE_POOLER=transaction, but there seems to be none")
    else:
        yield Finding("pooler", "ok", "transaction mode, as set" if told else "none")
    if told and settings.LISTEN_URL is None:
        yield Finding(
            "bus",
            "warn",
            "nobody can listen behind a pooler: set LISTEN_URL to a direct connection, or open"
            " sockets learn of revocations by reading their rows twice a second",
        )
    if told and facts["statement_timeout"] == "0":
        yield Finding(
            "timeouts", "warn", "behind a pooler set statement_timeout and lock_timeout on the role"
        )


def connections(facts: dict[str, str], settings: Settings) -> Iterator[Finding]:
    """Whether all workers' pools fit, and what each has beside its own."""
    wanted = settings.WORKERS * (settings.DATABASE_POOL_SIZE + BESIDE)
    there = int(facts["max_connections"])
    fits = wanted + RESERVED <= there or settings.DATABASE_POOLER == "transaction"
    message = f"{settings.WORKERS} times {settings.DATABASE_POOL_SIZE} and {BESIDE} of {there}"
    yield Finding(
        "connections",
        "ok" if fits else "warn",
        message if fits else f"{message}: lower DATABASE_POOL_SIZE or raise max_connections",
    )


def role(facts: dict[str, str], settings: Settings) -> Iterator[Finding]:
    """Whether the server could do more than it needs to."""
    if settings.DATABASE_URL is None:
        return
    if facts["may_write"] == "False":
        yield Finding("role", "fail", "it may not read and write all tables: GRANT that to it")
    elif facts["is_superuser"] == "True":
        yield Finding("role", "warn", "a superuser: give the server a role of its own")
    elif facts["may_create"] == "True":
        yield Finding(
            "role", "warn", "it may create tables: let an owner migrate, and the server only write"
        )
    else:
        yield Finding("role", "ok", "reads and writes rows, and no more")


def checkpoints(facts: dict[str, str]) -> Iterator[Finding]:
    """A hint for servers with many writes."""
    if int(facts["max_wal_size"]) < WAL_MB or int(facts["checkpoint_timeout"]) < CHECKPOINT:
        yield Finding(
            "checkpoints",
            "ok",
            f"with many sign-ins, max_wal_size={WAL_MB}MB and checkpoint_timeout={CHECKPOINT}s"
            " save writes",
        )


# A token


def explain_token(settings: Settings, *, json: bool) -> bool:
    """Tells what a token says and whether we signed it; whether that holds. It is not printed.

    Offline: whether its session lives only the row knows.
    """
    token = (getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.read()).strip()
    findings = list(look_at_token(token.removeprefix("Bearer ").strip(), settings))
    show(findings, json=json)
    return all(finding.level != "fail" for finding in findings)


def look_at_token(token: str, settings: Settings) -> Iterator[Finding]:
    """Form, signature, claims and times."""
    peeked = tokens.peek(token)
    if peeked is None:
        yield Finding("form", "fail", "this is no JWT in compact form: three parts, two dots")
        return
    header, claims = peeked
    yield Finding("form", "ok", f"a JWT, {len(token)} bytes")
    for name in ("alg", "typ", "kid"):
        yield Finding(name, "ok", clean(header.get(name)))
    for name in ("iss", "aud", "sub", "sid"):
        yield Finding(name, "ok", clean(claims.get(name)))
    yield from look_at_times(claims)
    key = key_here(settings)
    if key is None:
        yield Finding("signature", "warn", "JWT_SECRET is not set here, so nobody can say")
        return
    profile = tokens.Profile(settings.JWT_ISSUER, settings.JWT_AUDIENCE, settings.JWT_CLIENT_ID)
    try:
        tokens.verify(token, keys.ring(key), profile)
    except Unauthenticated:
        kid = keys.name(key.encode())
        why = "" if header.get("kid") == kid else f": it names another key than ours ({kid})"
        yield Finding("signature", "fail", f"not one of ours{why}")
    else:
        yield Finding("signature", "ok", "ours; whether its session lives, only its row knows")


def look_at_times(claims: dict[str, object]) -> Iterator[Finding]:
    """When it began and ends."""
    now = datetime.now(UTC)
    for name in ("iat", "nbf", "exp"):
        value = claims.get(name)
        if not isinstance(value, int) or not 0 <= value < 2**33:
            yield Finding(name, "fail", "no time")
            continue
        at = datetime.fromtimestamp(value, UTC)
        bad = at <= now if name == "exp" else at > now + timedelta(seconds=tokens.LEEWAY)
        why = ", over" if name == "exp" else ", not yet"
        yield Finding(
            name, "fail" if bad else "ok", f"{at:%Y-%m-%d %H:%M:%S} UTC{why if bad else ''}"
        )


def clean(value: object) -> str:
    """A claim of a stranger's token, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(value))[:100]


def key_here(settings: Settings) -> str | None:
    """The secret that signs here; None where none is known without starting anything."""
    if settings.JWT_SECRET:
        return settings.JWT_SECRET.get_secret_value()
    kept = embedded.secret_file(STATE)
    return secret.kept(kept) if kept and settings.DATABASE_URL is None else None
