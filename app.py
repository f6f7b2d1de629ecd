"""The composition root: what the application is made of, and what `python app.py` does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from auth import devices, keys, oidc, tokens
from auth.oidc import Providers
from auth.passwords import Passwords
from auth.throttle import Throttle
from background import activity, cleanup, condition
from context import Policy, Services
from db import endings, sessions
from db.activity import Activity
from db.clock import Clock
from db.engine import Database
from db.shared import Shared
from db.together import Together
from db.turns import Turns
from live.connections import Connections
from resolvers import guests
from server import cli, commands
from server.database import bus_url
from settings import SessionLimitAction, Settings
from web import health, pages
from web.departure import Departure
from web.direct import Direct
from web.edge import Edge, Rescue
from web.graphql import GraphQLEndpoint
from web.operations import Operations
from web.other_origins import OtherOrigins
from web.rest import SessionEndpoint, ValidateEndpoint
from web.sockets import SocketEndpoint
from web.upgrades import Upgrades

CORS_MAX_AGE = 600  # seconds that a browser may remember a preflight


class Application(Starlette):
    """Starlette without its two layers for what goes wrong: that is Rescue's business."""

    def build_middleware_stack(self) -> ASGIApp:
        """Ours, from the outside in, around the router."""
        stack: ASGIApp = self.router
        for layer in reversed(self.user_middleware):
            stack = layer.cls(stack, *layer.args, **layer.kwargs)
        return stack


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. DATABASE_URL and JWT_SECRET must be set; raises where they are bad."""
    departure = Departure()
    operations = Operations(
        introspection=settings.GRAPHQL_INTROSPECTION,
        compile_after=settings.GRAPHQL_COMPILE_AFTER,
    )
    services = make_services(settings)
    application = Application(
        routes=[
            WebSocketRoute(
                "/graphql", SocketEndpoint(services, operations, settings.ALLOWED_ORIGINS)
            ),
            Route("/session", SessionEndpoint(services, settings.ALLOWED_ORIGINS)),
            Route("/session/validate", ValidateEndpoint(services)),
            Route("/session/validate/{rest:path}", ValidateEndpoint(services)),
            Route("/healthz", health.healthz, methods=["GET"]),
            Route("/readyz", partial(health.readyz, services, departure), methods=["GET"]),
            *(pages.routes() if settings.GRAPHIQL else ()),
            *(pages.sessions_routes() if settings.SESSIONS_PAGE else ()),
        ],
        middleware=[
            *make_middleware(settings, departure),
            Middleware(
                Direct,
                path="/graphql",
                to=GraphQLEndpoint(services, operations, departure, ide=settings.GRAPHIQL),
            ),
        ],
        lifespan=partial(lifespan, services, departure, settings),
    )
    application.router.redirect_slashes = False  # an API path has one spelling
    application.state.services = services
    departure.connected.append(services.live)
    application.state.departure = departure
    return application


def make_services(settings: Settings) -> Services:
    """What every request shares. Raises WeakSecretError and DatabaseUrlError."""
    if settings.DATABASE_URL is None or settings.JWT_SECRET is None:
        raise ValueError("DATABASE_URL and JWT_SECRET must be set")
    url = settings.DATABASE_URL.get_secret_value()
    live = Connections(
        url,
        bus_url=bus_url(settings, url),
        timeout=settings.DATABASE_TIMEOUT,
        pooler=settings.DATABASE_POOLER,
        per_address=settings.SOCKETS_PER_ADDRESS,
    )
    database = Database(
        url,
        timeout=settings.DATABASE_TIMEOUT,
        pool_size=settings.DATABASE_POOL_SIZE,
        pooler=settings.DATABASE_POOLER,
    )
    ring = keys.ring(settings.JWT_SECRET.get_secret_value())
    profile = tokens.Profile(settings.JWT_ISSUER, settings.JWT_AUDIENCE, settings.JWT_CLIENT_ID)
    policy = make_policy(settings)
    database.on_change = live.bus.tell
    return Services(
        database=database,
        found=Together(database, sessions.find_many),
        found_with_live=Together(database, sessions.find_many_with_live),
        guests=Shared(database, partial(guests.begin_together, limit=policy.guests_per_minute)),
        endings=Shared(database, endings.end_together),
        clock=Clock(),
        keys=ring,
        profile=profile,
        tokens=tokens.Verifier(ring, profile),
        policy=policy,
        activity=Activity(),
        turns=Turns(),
        passwords=Passwords(min_length=settings.PASSWORD_MIN_LENGTH),
        providers=Providers(oidc.parse_issuers(settings.OIDC_ISSUERS)),
        throttle=Throttle(database, network_limit=settings.LOGIN_RATE_LIMIT),
        live=live,
    )


def make_policy(settings: Settings) -> Policy:
    """What the settings say of sessions."""

    def seconds(setting: int) -> timedelta | None:
        return timedelta(seconds=setting) if setting else None

    return Policy(
        absolute_lifetime=timedelta(seconds=settings.SESSION_ABSOLUTE_LIFETIME),
        idle_timeout=seconds(settings.SESSION_IDLE_TIMEOUT),
        activity_resolution=timedelta(seconds=settings.SESSION_ACTIVITY_RESOLUTION),
        retention=timedelta(seconds=settings.SESSION_RETENTION),
        max_sessions=settings.SESSION_MAX_PER_USER,
        reject_on_limit=settings.SESSION_ON_LIMIT is SessionLimitAction.REJECT,
        guests_per_minute=settings.GUEST_RATE_LIMIT,
        fresh_for=seconds(settings.SESSION_FRESH_FOR),
        address_detail=settings.SESSION_ADDRESS.value,
    )


def make_middleware(settings: Settings, departure: Departure) -> list[Middleware]:
    """From the outside in: who asks, what answers carry, which pages may, what went wrong."""
    proxies = [Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.TRUSTED_PROXIES))]
    return [
        *(proxies if settings.TRUSTED_PROXIES else ()),
        Middleware(Upgrades),
        Middleware(Edge, departure=departure),
        Middleware(
            OtherOrigins,
            allow_origins=settings.ALLOWED_ORIGINS,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["WWW-Authenticate", "Retry-After", "X-Request-Id"],
            max_age=CORS_MAX_AGE,
        ),
        Middleware(Rescue, departure=departure),
    ]


@asynccontextmanager
async def lifespan(
    services: Services, departure: Departure, settings: Settings, application: Starlette
) -> AsyncIterator[dict[str, Departure]]:
    """Runs what works beside the requests; tells the server how to leave (server/leaving.py)."""
    del application
    devices.recognise("warm")  # reads its rules now, not while the first request waits
    work = [
        asyncio.create_task(condition.watch(services)),
        asyncio.create_task(activity.keep_noting(services)),
        asyncio.create_task(services.live.run()),
    ]
    if settings.SESSION_CLEANUP_INTERVAL:
        cleaner = commands.make_cleanup(settings, services.database)
        keep_clean = cleanup.keep_clean(cleaner, interval=settings.SESSION_CLEANUP_INTERVAL)
        work.append(asyncio.create_task(keep_clean))
    try:
        yield {"departure": departure}
    finally:
        await end(work)
        await activity.write_down(services)
        services.passwords.close()
        await services.live.close()
        await services.found.close()
        await services.found_with_live.close()
        await services.database.close()


async def end(work: list[asyncio.Task[None]]) -> None:
    """Ends what goes on for ever; a library may pass over one cancellation, but not over all."""
    while pending := [task for task in work if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)


if __name__ == "__main__":
    cli.main(create_app)
