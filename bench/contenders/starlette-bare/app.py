"""Static JSON by Starlette: what the rest of the lot is measured against, for scale."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def me(request: Request) -> JSONResponse:
    """The same answer to everybody."""
    del request
    return JSONResponse({"id": "01998e9b-0000-7000-8000-000000000000", "username": "everybody"})


app = Starlette(routes=[Route("/me", me)])
