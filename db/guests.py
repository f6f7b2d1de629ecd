"""Guests who come at the same time: a name, a user, a session and its beginning in the history.

One statement for all of them. On its own no row of these is worth anything, and four statements
cost the server and PostgreSQL a half more. Nobody is told (db/changes.py): a user who is new has no
socket anywhere before the answer, which comes after the commit; to tell cost a tenth of the
throughput.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from db.direct import Statements
from db.events import Actor, Kind
from db.sessions import COLUMNS, SESSION_WIDTH, NewSession, SessionRow, seconds, to_session
from db.statements import text
from db.users import COLUMNS as USER_COLUMNS
from db.users import UserRow


class NewGuest(NamedTuple):
    """A guest to be, and its first session."""

    user_id: UUID
    usernames: Sequence[str]  # in lower case, best first
    latest: float  # seconds since 1970, on the database's clock: later nothing is written
    session: NewSession


# The best name that is free; of two who claim it at the same moment one gets nothing. They claim in
# the order of the names, so that they do not deadlock. A session begins once: its id is its
# beginning's too. Who comes too late gets no name.
BEGIN = text(f"""
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:user_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:labels AS text[]),
            CAST(:absolute_lifetimes AS float8[]),
            CAST(:idle_timeouts AS float8[]), CAST(:idle_timeouts_once_used AS float8[]),
            CAST(:activity_resolutions AS float8[]), CAST(:user_agents AS text[]),
            CAST(:client_names AS text[]), CAST(:client_oss AS text[]),
            CAST(:device_types AS text[]), CAST(:ip_addresses AS text[]),
            CAST(:latests AS float8[])
        ) AS n (user_id, id, label, absolute_lifetime, idle_timeout,
                idle_timeout_once_used, activity_resolution, user_agent, client_name, client_os,
                device_type, ip_address, latest)
        WHERE clock_timestamp() < to_timestamp(latest)
    ), named AS (
        INSERT INTO usernames (username_key, user_id)
        SELECT name, user_id FROM (
            SELECT DISTINCT ON (c.user_id) c.name, c.user_id
            FROM unnest(CAST(:candidates AS text[]), CAST(:candidates_of AS uuid[]))
                WITH ORDINALITY AS c (name, user_id, place)
            WHERE c.user_id IN (SELECT user_id FROM n)
                AND NOT EXISTS (SELECT FROM usernames WHERE username_key = c.name)
            ORDER BY c.user_id, c.place
        ) AS free ORDER BY name
        ON CONFLICT DO NOTHING
        RETURNING user_id, username_key
    ), u AS (
        INSERT INTO users (id, username, is_guest)
        SELECT user_id, username_key, true FROM named
        RETURNING *
    ), s AS (
        INSERT INTO user_sessions
            (user_id, id, label, expires_at, idle_timeout, idle_timeout_once_used,
             activity_resolution, user_agent, client_name, client_os, device_type, ip_address)
        SELECT n.user_id, n.id, n.label, now() + make_interval(secs => n.absolute_lifetime),
               make_interval(secs => n.idle_timeout),
               make_interval(secs => n.idle_timeout_once_used),
               make_interval(secs => n.activity_resolution),
               n.user_agent, n.client_name, n.client_os, n.device_type, CAST(n.ip_address AS inet)
        FROM n JOIN named USING (user_id)
        RETURNING *
    ), told AS (
        INSERT INTO session_events
            (user_id, id, session_id, kind, actor, actor_user_id, actor_session_id, ip_address)
        SELECT n.user_id, n.id, n.id, '{Kind.CREATED}', '{Actor.USER}', n.user_id, n.id,
               CAST(n.ip_address AS inet)
        FROM n JOIN named USING (user_id)
    )
    SELECT {COLUMNS}, {USER_COLUMNS} FROM s JOIN u ON u.id = s.user_id
""")  # noqa: S608 - constants


async def begin(
    db: Statements, guests: Sequence[NewGuest]
) -> dict[UUID, tuple[UserRow, SessionRow]]:
    """The rows of each guest who got a name in time; of the others nothing is written."""
    new = [guest.session for guest in guests]
    rows = await db.execute(
        BEGIN,
        {
            "user_ids": [guest.user_id for guest in guests],
            "candidates": [name for guest in guests for name in guest.usernames],
            "candidates_of": [guest.user_id for guest in guests for _ in guest.usernames],
            "ids": [one.id for one in new],
            "labels": [one.label for one in new],
            "absolute_lifetimes": [seconds(one.absolute_lifetime) for one in new],
            "idle_timeouts": [seconds(one.idle_timeout) for one in new],
            "idle_timeouts_once_used": [seconds(one.idle_timeout_once_used) for one in new],
            "activity_resolutions": [seconds(one.activity_resolution) for one in new],
            "user_agents": [one.user_agent for one in new],
            "client_names": [one.client_name for one in new],
            "client_oss": [one.client_os for one in new],
            "device_types": [one.device_type for one in new],
            "ip_addresses": [one.ip_address for one in new],
            "latests": [guest.latest for guest in guests],
        },
    )
    made = [(UserRow._make(row[SESSION_WIDTH:]), to_session(row[:SESSION_WIDTH])) for row in rows]
    return {user.id: (user, session) for user, session in made}
