"""The pages at /graphql and at /, and the files they load, all from this origin."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

STATE = Path(__file__).parent.parent / ".state"  # its sets are filled by tools/fetch_graphiql.py
VENDOR = STATE / "graphiql"
_OWN = Path(__file__).parent / "graphiql"
_SESSIONS = Path(__file__).parent / "sessions_page"

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
_ICON = {"favicon.svg": _SVG}
_QR_FILES = {"lean-qr.js": _JS}
_SESSIONS_FILES = {
    "page.css": _CSS,
    **{path.name: _JS for path in sorted(_SESSIONS.glob("*.js"))},
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


def installed(name: str) -> bool:
    """Whether the files of a set, `graphiql` or `qr`, are there at this moment."""
    return _are_there(STATE / name, {"graphiql": _VENDOR_FILES, "qr": _QR_FILES}[name])


def _are_there(folder: Path, files: Iterable[str]) -> bool:
    return all((folder / name).is_file() for name in files)


def ide(vendor: Path = VENDOR) -> Response:
    """GraphiQL if its files are there at this moment, else our own console."""
    if _are_there(vendor, _VENDOR_FILES):
        return _page(_OWN / "graphiql.html", trusted_types="default")
    return _page(_OWN / "console.html", trusted_types="'none'")


def sessions(request: Request) -> Response:
    """The sessions page, the same for everybody: who calls is its scripts' business."""
    del request
    return _page(_SESSIONS / "index.html", trusted_types="'none'")


def routes(vendor: Path = VENDOR) -> list[Route]:
    """The files of the pages at /graphql."""
    return [_assets("/graphiql", {_OWN: _OWN_FILES, vendor: _VENDOR_FILES})]


def sessions_routes() -> list[Route]:
    """The sessions page and its files; without lean-qr.js it shows link codes alone."""
    folders = {_SESSIONS: _SESSIONS_FILES, _OWN: _ICON, STATE / "qr": _QR_FILES}
    page = Route("/", sessions, methods=["GET"])
    return [page, _assets("/sessions-page", folders)]


def _assets(prefix: str, folders: Mapping[Path, Mapping[str, str]]) -> Route:
    """Files by exact name: nothing else in any of the folders can be asked for."""
    files = {
        name: (folder / name, media_type)
        for folder, names in folders.items()
        for name, media_type in names.items()
    }

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

    return Route(f"{prefix}/{{file}}", asset, methods=["GET"])


def _page(path: Path, *, trusted_types: str) -> Response:
    headers = {
        "Content-Security-Policy": _POLICY + trusted_types,
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return HTMLResponse(path.read_bytes(), headers=headers)


def _knows(request: Request, etag: str) -> bool:
    """Whether If-None-Match names what we would send, weakly compared: RFC 9110, 13.1.2."""
    tags = request.headers.get("If-None-Match", "").split(",")
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in tags)
