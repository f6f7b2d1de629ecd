"""What a person sees when the server starts: where everything is, and what to do first."""

import sys

import structlog

from settings import Settings

SCREEN = """
  bigtwo-sessions is at work. Stop it with Ctrl-C.

{page}    {graphql:<8}   {base}/graphql      open this one in a browser
    REST       {base}/session      POST, GET …/validate, DELETE
    health     {base}/healthz      and {base}/readyz
    data       {data}
    workers    {workers}
"""

PAGE = "    sessions   {base}/             your devices, in a browser\n"

log = structlog.get_logger()


def show(settings: Settings, host: str, port: int, data: str) -> None:
    """A screen on a terminal, one line of JSON elsewhere. data: the folder or the database."""
    base = f"http://{reachable(host)}:{port}"
    graphql = "GraphiQL" if settings.GRAPHIQL else "GraphQL"
    page = PAGE.format(base=base) if settings.SESSIONS_PAGE else ""
    text = settings.LOG_FORMAT == "text" or (not settings.LOG_FORMAT and sys.stdout.isatty())
    if text:
        print(  # noqa: T201 - the screen
            SCREEN.format(
                base=base, page=page, graphql=graphql, data=data, workers=settings.WORKERS
            ),
            flush=True,
        )
        return
    log.info(
        "starting",
        **{graphql.lower(): f"{base}/graphql"},
        rest=f"{base}/session",
        health=f"{base}/healthz",
        readiness=f"{base}/readyz",
        data=data,
        workers=settings.WORKERS,
    )


def reachable(host: str) -> str:
    """A host that can be typed into a browser on this machine."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host
