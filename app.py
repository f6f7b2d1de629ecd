"""The composition root: what the application is made of, and what `python app.py` does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from auth import devices, keys, oidc, tokens
from auth.oidc import Providers
from auth.passwords import Passwords
from auth.throttle import Throttle
from background import activity, cleanup, condition
from context import Policy, Services
from db.activity import Activity
from db.clock import Clock
from db.engine import Database
from db.turns import Turns
from server import cli, commands
from settings import SessionLimitAction, Settings
from web import health, pages
from web.edge import Edge, Rescue, to_rescue
from web.graphql import GraphQLEndpoint
from web.other_origins import OtherOrigins
from web.rest import SessionEndpoint, ValidateEndpoint

CORS_MAX_AGE = 600  # seconds that a browser may remember a preflight


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. DATABASE_URL and JWT_SECRET must be set; raises where they are bad."""
    services = make_services(settings)
    application = Starlette(
        routes=[
            Route(
                "/graphql",
                GraphQLEndpoint(
                    services, ide=settings.GRAPHIQL, introspection=settings.GRAPHQL_INTROSPECTION
                ),
            ),
            Route("/session", SessionEndpoint(services, settings.ALLOWED_ORIGINS)),
            Route("/session/validate", ValidateEndpoint(services)),
            Route("/session/validate/{rest:path}", ValidateEndpoint(services)),
            Route("/healthz", health.healthz, methods=["GET"]),
            Route("/readyz", partial(health.readyz, services), methods=["GET"]),
            *(pages.routes() if settings.GRAPHIQL else ()),
            *(pages.sessions_routes() if settings.SESSIONS_PAGE else ()),
        ],
        middleware=list(make_middleware(settings)),
        exception_handlers={HTTPException: to_rescue},
        lifespan=partial(lifespan, services, settings),
    )
    application.router.redirect_slashes = False  # an API path has one spelling
    application.state.services = services
    return application


def make_services(settings: Settings) -> Services:
    """What every request shares. Raises WeakSecretError and DatabaseUrlError."""
    if settings.DATABASE_URL is None or settings.JWT_SECRET is None:
        raise ValueError("DATABASE_URL and JWT_SECRET must be set")
    database = Database(
        settings.DATABASE_URL.get_secret_value(),
        timeout=settings.DATABASE_TIMEOUT,
        pool_size=settings.DATABASE_POOL_SIZE,
        pooler=settings.DATABASE_POOLER,
    )
    return Services(
        database=database,
        clock=Clock(),
        keys=keys.ring(settings.JWT_SECRET.get_secret_value()),
        profile=tokens.Profile(settings.JWT_ISSUER, settings.JWT_AUDIENCE, settings.JWT_CLIENT_ID),
        policy=make_policy(settings),
        activity=Activity(),
        turns=Turns(),
        passwords=Passwords(min_length=settings.PASSWORD_MIN_LENGTH),
        providers=Providers(oidc.parse_issuers(settings.OIDC_ISSUERS)),
        throttle=Throttle(database, network_limit=settings.LOGIN_RATE_LIMIT),
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


def make_middleware(settings: Settings) -> list[Middleware]:
    """From the outside in: who asks, what answers carry, which pages may, what went wrong."""
    proxies = [Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.TRUSTED_PROXIES))]
    return [
        *(proxies if settings.TRUSTED_PROXIES else ()),
        Middleware(Edge),
        Middleware(
            OtherOrigins,
            allow_origins=settings.ALLOWED_ORIGINS,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["WWW-Authenticate", "Retry-After", "X-Request-Id"],
            max_age=CORS_MAX_AGE,
        ),
        Middleware(Rescue),
    ]


@asynccontextmanager
async def lifespan(
    services: Services, settings: Settings, application: Starlette
) -> AsyncIterator[None]:
    """Runs what works beside the requests."""
    del application
    devices.recognise("warm")  # reads its rules now, not while the first request waits
    work = [
        asyncio.create_task(condition.watch(services)),
        asyncio.create_task(activity.keep_noting(services)),
    ]
    if settings.SESSION_CLEANUP_INTERVAL:
        cleaner = commands.make_cleanup(settings, services.database)
        keep_clean = cleanup.keep_clean(cleaner, interval=settings.SESSION_CLEANUP_INTERVAL)
        work.append(asyncio.create_task(keep_clean))
    try:
        yield
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await activity.write_down(services)
        services.passwords.close()
        await services.database.close()


if __name__ == "__main__":
    cli.main(create_app)
