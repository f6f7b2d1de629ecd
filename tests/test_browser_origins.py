"""Pages of other origins, in a real browser: the listed one may call, another may not."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from app import create_app

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

ASK = """async ([url, token]) => {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = JSON.stringify({ query: "mutation { createSession { token } }" });
  try {
    const response = await fetch(url, { method: "POST", headers, body });
    const answer = await response.json();
    return {
      status: response.status,
      token: answer.data?.createSession.token,
      challenge: response.headers.get("WWW-Authenticate"),
      request: response.headers.get("X-Request-Id"),
    };
  } catch (error) {
    return { refused: error.name };
  }
}"""


@pytest.fixture
def page() -> Iterator[Page]:
    options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser.new_page()
        browser.close()


def somebodys_page() -> Starlette:
    """A site of somebody else's."""
    return Starlette(routes=[Route("/", lambda _: HTMLResponse("<!doctype html><p>hello"))])


@pytest.fixture
def listed(serve_app: Any) -> str:
    return str(serve_app(somebodys_page()))


@pytest.fixture
def api(serve_app: Any, make_settings: Any, listed: str) -> str:
    return f"{serve_app(create_app(make_settings(ALLOWED_ORIGINS=(listed,))))}/graphql"


def test_a_page_of_a_listed_origin_on_another_port_can_call(
    page: Page, listed: str, api: str
) -> None:
    page.goto(listed)
    answer = page.evaluate(ASK, [api, None])
    assert answer["status"] == 200
    assert answer["token"]
    assert answer["request"]
    again = page.evaluate(ASK, [api, answer["token"]])
    assert again["status"] == 200


def test_such_a_page_can_read_why_it_was_refused(page: Page, listed: str, api: str) -> None:
    page.goto(listed)
    answer = page.evaluate(ASK, [api, "no.good.token"])
    assert answer["status"] == 401
    assert answer["challenge"] == 'Bearer error="invalid_token"'


def test_a_page_of_another_origin_cannot(page: Page, serve_app: Any, api: str) -> None:
    page.goto(serve_app(somebodys_page()))
    assert page.evaluate(ASK, [api, None]) == {"refused": "TypeError"}
