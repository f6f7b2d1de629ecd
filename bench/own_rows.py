"""The rows of contenders that come with tables of their own, in a database of their own.

The contender makes its tables; they are filled here, by statements, like ours: as many users, with
as many sessions each.
"""

import base64
import hashlib
import hmac
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from dialects import Caller
from environments import Missing
from ground import connected, execute
from lineup import Contender
from rows import CALLERS, PER_USER


@dataclass(frozen=True)
class Own:
    """How a contender's tables are filled and looked at.

    `tables` and `finish` are words for its program, before and after they are filled. {users} and
    {sessions} stand for numbers. `callers` selects user, name, session and key of so many users;
    `targets` makes so many sessions of each of these users and returns user, session and key;
    `exists` counts the session. A `credential` is made from the key and the secret.
    """

    tables: str
    fill: tuple[str, ...]
    callers: str
    targets: str
    exists: str
    finish: str = ""
    credential: Callable[[str, str], str] = lambda key, secret: key  # noqa: ARG005 - as it is


RANDOM = "replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')"

FASTAPI_USERS = Own(
    tables="tables.py",
    fill=(
        """INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser, is_verified)
           SELECT gen_random_uuid(), 'guest-' || n || '@example.org', '!', true, false, false
           FROM generate_series(1, {users}) n""",
        f"""INSERT INTO accesstoken (token, created_at, user_id, id, label, last_active_at)
            SELECT left({RANDOM}, 43), now(), u.id, gen_random_uuid(), 'amber-otter', now()
            FROM generate_series(1, {{sessions}}) n, "user" u""",
        'VACUUM (ANALYZE) "user", accesstoken',
    ),
    callers="""SELECT DISTINCT ON (u.id) u.id::text, u.email, t.id::text, t.token
               FROM (SELECT id, email FROM "user" ORDER BY random() LIMIT $1) u
               JOIN accesstoken t ON t.user_id = u.id""",
    targets=f"""INSERT INTO accesstoken (token, created_at, user_id, id, label, last_active_at)
                SELECT left({RANDOM}, 43), now(), u.id::uuid, gen_random_uuid(), 'x', now()
                FROM generate_series(1, $2::int) n, unnest($1::text[]) u (id)
                RETURNING user_id::text, id::text, token""",
    exists="SELECT count(*) FROM accesstoken WHERE id = $1::text::uuid",
)

DJANGO = Own(
    tables="tables.py",
    fill=(
        """INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email,
               is_staff, is_active, date_joined)
           SELECT '!', false, 'guest-' || n, '', '', '', false, true, now()
           FROM generate_series(1, {users}) n""",
        f"""INSERT INTO devices_session (session_key, session_data, expire_date, public_id, user_id,
                label, created_at, last_active_at)
            SELECT left({RANDOM}, 32), repeat('x', 220), now() + interval '30 d',
                   gen_random_uuid(), u.id, 'amber-otter', now(), now()
            FROM generate_series(1, {{sessions}}) n, auth_user u""",
        "VACUUM (ANALYZE) auth_user, devices_session",
    ),
    finish=f"sign.py {2 * CALLERS}",
    callers="""SELECT DISTINCT ON (u.id) u.id::text, u.username, s.public_id::text, s.session_key
               FROM (SELECT id, username FROM auth_user ORDER BY id LIMIT $1) u
               JOIN devices_session s ON s.user_id = u.id""",
    targets=f"""INSERT INTO devices_session (session_key, session_data, expire_date, public_id,
                    user_id, label, created_at, last_active_at)
                SELECT left({RANDOM}, 32), s.session_data, now() + interval '30 d',
                       gen_random_uuid(), u.id::int, 'x', now(), now()
                FROM unnest($1::text[]) u (id),
                     LATERAL (SELECT session_data FROM devices_session
                              WHERE user_id = u.id::int LIMIT 1) s,
                     generate_series(1, $2::int) n
                RETURNING user_id::text, public_id::text, session_key""",
    exists="SELECT count(*) FROM devices_session WHERE public_id = $1::text::uuid",
)


def signed(token: str, secret: str) -> str:
    """A token as better-auth puts it into its cookie."""
    mac = hmac.new(secret.encode(), token.encode(), hashlib.sha256).digest()
    return quote(f"{token}.{base64.b64encode(mac).decode()}", safe="")


BETTER_AUTH = Own(
    tables="tables.mjs",
    fill=(
        """INSERT INTO "user" (id, name, email, "emailVerified", "createdAt", "updatedAt",
               "isAnonymous")
           SELECT left(md5(random()::text), 32), 'guest-' || n, 'guest-' || n || '@example.org',
                  false, now(), now(), true
           FROM generate_series(1, {users}) n""",
        f"""INSERT INTO session (id, "expiresAt", token, "createdAt", "updatedAt", "ipAddress",
                "userAgent", "userId")
            SELECT left({RANDOM}, 32), now() + interval '7 d', left({RANDOM}, 32), now(), now(),
                   '198.51.100.7', 'Mozilla/5.0 (X11; Linux x86_64; rv:144.0)', u.id
            FROM generate_series(1, {{sessions}}) n, "user" u""",
        'VACUUM (ANALYZE) "user", session',
    ),
    callers="""SELECT DISTINCT ON (u.id) u.id, u.name, s.id, s.token
               FROM (SELECT id, name FROM "user" ORDER BY random() LIMIT $1) u
               JOIN session s ON s."userId" = u.id""",
    targets=f"""INSERT INTO session (id, "expiresAt", token, "createdAt", "updatedAt", "userId")
                SELECT left({RANDOM}, 32), now() + interval '7 d', t.token, now(), now(), u.id
                FROM unnest($1::text[]) u (id), generate_series(1, $2::int) n,
                     LATERAL (SELECT left({RANDOM}, 32 + n * 0 + length(u.id) * 0) AS token) t
                RETURNING "userId", token, token""",
    exists="SELECT count(*) FROM session WHERE token = $1",
    credential=signed,
)

OWN = {"fastapi-users": FASTAPI_USERS, "django-sessions": DJANGO, "better-auth": BETTER_AUTH}


@dataclass
class OwnRows:
    """See rows.Rows."""

    url: str
    own: Own
    secret: str
    readers: list[Caller] = field(default_factory=list)
    writers: list[Caller] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)  # by session: of targets

    async def targets(self, number: int) -> list[tuple[Caller, str]]:
        """See Rows."""
        by_id = {caller.user_id: caller for caller in self.writers}
        async with connected(self.url) as db:
            made = await db.fetch(self.own.targets, list(by_id), -(-number // len(by_id)))
        self.keys = {row[1]: row[2] for row in made}
        return [(by_id[row[0]], row[1]) for row in made[:number]]

    async def was_created(self, session: str) -> bool:
        """See Rows."""
        async with connected(self.url) as db:
            return bool(await db.fetchval(self.own.exists, session) == 1)

    async def was_revoked(self, session: str) -> bool:
        """See Rows."""
        return not await self.was_created(session)

    def shown(self, caller: Caller, session: str) -> Caller:
        """See Rows."""
        credential = self.own.credential(self.keys[session], self.secret)
        return Caller(caller.user_id, caller.username, session, credential)


async def make(
    url: str, contender: Contender, program: Path, environment: dict[str, str], users: int
) -> OwnRows:
    """The contender's tables in the database of that URL, and who will call."""
    own = OWN[contender.name]
    command(contender, program, environment, own.tables)
    statements = [text.format(users=users, sessions=PER_USER) for text in own.fill]
    await execute(url, *statements)
    command(contender, program, environment, own.finish)
    await execute(url, "CHECKPOINT")
    async with connected(url) as db:
        found = await db.fetch(own.callers, 2 * CALLERS)
    secret = environment["JWT_SECRET"]
    callers = [
        Caller(user_id, username, session, own.credential(key, secret))
        for user_id, username, session, key in found
    ]
    return OwnRows(url, own, secret, callers[:CALLERS], callers[CALLERS:])


def command(contender: Contender, program: Path, environment: dict[str, str], words: str) -> None:
    """Runs the contender's program, if there is anything to run. Raises Missing."""
    if not words:
        return
    done = subprocess.run(  # noqa: S603 - a contender, and no shell
        [program, *words.split()],
        cwd=contender.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Missing(f"{words} failed: {done.stderr.strip()[-500:]}")
