"""For load balancers: /healthz says that the process lives, /readyz that it should get requests."""

from starlette.requests import Request
from starlette.responses import Response

from context import Services
from db import maintenance, migrations
from db.clock import MAX_OFFSET
from db.engine import Unavailable
from web.departure import Departure
from web.refusals import PLAIN_JSON, encode

MIGRATE_HINT = "run `make migrate` (or `alembic upgrade head`) with this DATABASE_URL"
ENCODING_HINT = f"create a database with `{maintenance.HOW_TO_CREATE}`"


async def healthz(request: Request) -> Response:
    """200 as long as the process answers; it asks nobody."""
    del request
    return Response(encode({"status": "alive"}), media_type=PLAIN_JSON)


async def readyz(services: Services, departure: Departure, request: Request) -> Response:
    """200 when every check holds, else 503; the body says which do not, and what to do."""
    del request
    try:
        checks = {"server": "leaving"} if departure.is_announced else await check(services)
    except Unavailable:  # why is the operator's to know: see background/condition.py
        checks = {"database": "cannot answer"}
    ready = all(found == "ok" for found in checks.values())
    return Response(
        encode({"status": "ready" if ready else "not ready", "checks": checks}),
        status_code=200 if ready else 503,
        headers={} if ready else {"Retry-After": "1"},
        media_type=PLAIN_JSON,
    )


async def check(services: Services) -> dict[str, str]:
    """What must hold for requests to succeed: "ok" or what is wrong. Raises Unavailable."""
    condition = await services.clock.measure(services.database)
    revision = await services.database.read(maintenance.revision)
    offset = services.clock.offset or 0.0
    return {
        "database": "ok",
        "primary": "this is a standby" if condition.is_standby else "ok",
        "encoding": "ok" if condition.encoding == maintenance.ENCODING else ENCODING_HINT,
        "clock": "ok" if abs(offset) <= MAX_OFFSET else f"{offset:+.0f} s off the database's",
        "migrations": "ok" if migrations.is_migrated(revision) else MIGRATE_HINT,
    }
