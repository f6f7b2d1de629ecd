"""The page at /graphql and the files it loads, all from this origin."""

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

VENDOR = Path(__file__).parent.parent / ".state" / "graphiql"  # filled by tools/fetch_graphiql.py
_OWN = Path(__file__).parent / "graphiql"

_CSS = "text/css; charset=utf-8"
_JS = "text/javascript; charset=utf-8"
_SVG = "image/svg+xml; charset=utf-8"

_OWN_FILES = {
    "boot.css": _CSS,
    "boot.js": _JS,
    "console.css": _CSS,
    "console.js": _JS,
    "favicon.svg": _SVG,
    "requests.js": _JS,
}
_VENDOR_FILES = {
    "graphiql.min.css": _CSS,
    "graphiql.min.js": _JS,
    "react-dom.production.min.js": _JS,
    "react.production.min.js": _JS,
}

# GraphiQL's stylesheet carries its fonts as data: addresses. Its dialogs try an inline style that
# stops the page from scrolling, which it never does: blocked, noted on the console, not missed.
# A page adds the Trusted Types policies it may make: GraphiQL one, defined in boot.js; ours none.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self' data:; "
    "img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types "
)


def installed(vendor: Path = VENDOR) -> bool:
    """Whether GraphiQL's files are there at this moment."""
    return all((vendor / name).is_file() for name in _VENDOR_FILES)


def ide(vendor: Path = VENDOR) -> Response:
    """GraphiQL if its files are there at this moment, else our own console."""
    if installed(vendor):
        return _page("graphiql.html", trusted_types="default")
    return _page("console.html", trusted_types="'none'")


def routes(vendor: Path = VENDOR) -> list[Route]:
    """The files of both pages, by exact name: nothing else in either folder can be asked for."""
    files = {name: (_OWN / name, media_type) for name, media_type in _OWN_FILES.items()}
    files |= {name: (vendor / name, media_type) for name, media_type in _VENDOR_FILES.items()}

    def asset(request: Request) -> Response:  # not async: Starlette gives it a thread
        try:
            path, media_type = files[request.path_params["file"]]
            content = path.read_bytes()
        except (KeyError, FileNotFoundError):
            raise HTTPException(404) from None
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if _knows(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return [Route("/graphiql/{file}", asset, methods=["GET"])]


def _page(name: str, *, trusted_types: str) -> Response:
    headers = {
        "Content-Security-Policy": _POLICY + trusted_types,
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return HTMLResponse((_OWN / name).read_bytes(), headers=headers)


def _knows(request: Request, etag: str) -> bool:
    """Whether If-None-Match names what we would send, weakly compared: RFC 9110, 13.1.2."""
    tags = request.headers.get("If-None-Match", "").split(",")
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in tags)
