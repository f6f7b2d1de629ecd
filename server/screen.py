"""What a person sees when the server starts: where everything is, and what to do first."""

import sys

import structlog

from settings import ROOT, STATE, Settings

SCREEN = """
  bigtwo-sessions is at work. Stop it with Ctrl-C.

    GraphiQL   {base}/graphql      open this one in a browser
    REST       {base}/session      POST, GET …/validate, DELETE
    health     {base}/healthz      and {base}/readyz
    database   {database}
    state      {state}
    workers    {workers}
"""

log = structlog.get_logger()


def show(settings: Settings, host: str, port: int, database: str) -> None:
    """A screen on a terminal, one line of JSON elsewhere."""
    base = f"http://{reachable(host)}:{port}"
    text = settings.LOG_FORMAT == "text" or (not settings.LOG_FORMAT and sys.stdout.isatty())
    if text:
        print(  # noqa: T201 - the screen
            SCREEN.format(base=base, database=database, state=STATE, workers=settings.WORKERS),
            flush=True,
        )
        return
    log.info(
        "starting",
        graphiql=f"{base}/graphql",
        rest=f"{base}/session",
        health=f"{base}/healthz",
        readiness=f"{base}/readyz",
        database=database,
        state=str(STATE.relative_to(ROOT)),
        workers=settings.WORKERS,
    )


def reachable(host: str) -> str:
    """A host that can be typed into a browser on this machine."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host
