"""The composition root: what the application is made of, and what `python app.py` does."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from textwrap import indent

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from auth import devices, keys, tokens
from background import activity, cleanup, condition
from background.cleanup import Cleanup
from context import Policy, Services
from db.activity import Activity
from db.clock import Clock
from db.embedded import EmbeddedError
from db.engine import Database
from db.url import DatabaseUrlError
from server import commands, run
from server.database import DatabaseError
from settings import SessionLimitAction, Settings, SettingsError, load
from web import health, pages
from web.edge import Edge, Rescue, to_rescue
from web.graphql import GraphQLEndpoint
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
        ],
        middleware=list(make_middleware(settings)),
        exception_handlers={HTTPException: to_rescue},
        lifespan=partial(lifespan, services, settings),
    )
    application.router.redirect_slashes = False  # an API path has one spelling
    return application


def make_services(settings: Settings) -> Services:
    """What every request shares. Raises WeakSecretError and DatabaseUrlError."""
    if settings.DATABASE_URL is None or settings.JWT_SECRET is None:
        raise ValueError("DATABASE_URL and JWT_SECRET must be set")
    return Services(
        database=Database(
            settings.DATABASE_URL.get_secret_value(),
            timeout=settings.DATABASE_TIMEOUT,
            pool_size=settings.DATABASE_POOL_SIZE,
            pooler=settings.DATABASE_POOLER,
        ),
        clock=Clock(),
        keys=keys.ring(settings.JWT_SECRET.get_secret_value()),
        profile=tokens.Profile(settings.JWT_ISSUER, settings.JWT_AUDIENCE, settings.JWT_CLIENT_ID),
        policy=make_policy(settings),
        activity=Activity(),
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
        address_detail=settings.SESSION_ADDRESS.value,
        address_retention=seconds(settings.SESSION_ADDRESS_RETENTION),
    )


def make_middleware(settings: Settings) -> list[Middleware]:
    """From the outside in: who asks, what answers carry, which pages may, what went wrong."""
    proxies = [Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.TRUSTED_PROXIES))]
    return [
        *(proxies if settings.TRUSTED_PROXIES else ()),
        Middleware(Edge),
        Middleware(
            CORSMiddleware,
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
        cleaner = Cleanup(
            services.database, services.policy.retention, services.policy.address_retention
        )
        keep_clean = cleanup.keep_clean(cleaner, interval=settings.SESSION_CLEANUP_INTERVAL)
        work.append(asyncio.create_task(keep_clean))
    yield
    for task in work:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await activity.write_down(services)
    await services.database.close()


def main(arguments: list[str] | None = None) -> None:
    """`python app.py [serve | migrate | cleanup [--apply]]`: exits 1 where a person must act."""
    run.leave_in_order()
    chosen = parser().parse_args(arguments)
    try:
        settings = load()
        if chosen.verb == "migrate":
            commands.migrate(settings)
        elif chosen.verb == "cleanup":
            commands.cleanup(settings, apply=chosen.apply)
        else:
            run.serve(settings, create_app, ends_with=getattr(chosen, "ends_with", None))
    except (SettingsError, DatabaseUrlError) as error:
        sys.exit(f"These settings cannot be used:\n{indent(str(error), '  ')}")
    except (run.StartError, DatabaseError, EmbeddedError) as error:
        sys.exit(f"{error}")


def parser() -> argparse.ArgumentParser:
    """What may stand behind `python app.py`."""
    whole = argparse.ArgumentParser(
        prog="python app.py",
        description="bigtwo-sessions. Without a verb it serves. docs/settings.md has the settings.",
    )
    verbs = whole.add_subparsers(dest="verb", metavar="VERB")
    serve = verbs.add_parser("serve", help="serve until Ctrl-C")
    serve.add_argument("--ends-with", type=int, metavar="PID", help="end when this parent does")
    verbs.add_parser("migrate", help="bring the database to this release's revision")
    clean = verbs.add_parser("cleanup", help="show what a cleanup would purge")
    clean.add_argument("--apply", action="store_true", help="purge it")
    return whole


if __name__ == "__main__":
    main()
