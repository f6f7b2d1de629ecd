"""The pages at /graphql, in a browser that can reach nothing but the server."""

import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from graphql import build_schema, graphql_sync
from playwright.sync_api import Locator, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from web import pages

TOOL = Path(__file__).parent.parent / "tools" / "fetch_graphiql.py"
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


# A server of the shape the pages expect: a door that refuses bad tokens, and sessions in a dict.

SCHEMA = build_schema("""
    type Query { mySessions: [Session!]! }
    "What makes a **guest** and ends its `session`."
    type Mutation { createSession: Created!  revokeSession(id: ID): Revoked! }
    type Created { token: String  expiresAt: String  session: Session  userErrors: [UserError!]! }
    type Revoked { status: String!  session: Session }
    type UserError { code: String!  message: String! }
    type Session {
        id: ID!  label: String!  isCurrent: Boolean!  status: String!
        createdAt: String!  lastActiveAt: String!  expiresAt: String!  revokedAt: String
    }
""")
NOON, NIGHT = "2026-01-01T12:00:00Z", "2026-01-31T23:00:00Z"

Stored = dict[str, object]


def resolvers(sessions: dict[str, Stored], own: Stored | None) -> dict[str, object]:
    def create(_info: object) -> dict[str, object]:
        token, session = f"stub.{uuid.uuid4()}", dict.fromkeys(("createdAt", "lastActiveAt"), NOON)
        session |= {"id": str(uuid.uuid4()), "label": "amber-otter", "status": "ACTIVE"}
        sessions[token] = session | {"expiresAt": NIGHT, "isCurrent": True}
        return {"token": token, "expiresAt": NIGHT, "session": sessions[token], "userErrors": []}

    def mine(_info: object) -> list[Stored]:
        if own is None:
            raise PermissionError("Not signed in.")
        return [own]

    def revoke(_info: object, **named: str) -> dict[str, object]:
        if own is None or named.get("id", own["id"]) != own["id"]:
            return {"status": "NOT_FOUND"}
        own.update(status="REVOKED", revokedAt=NOON)
        return {"status": "REVOKED", "session": own}

    return {"createSession": create, "mySessions": mine, "revokeSession": revoke}


def app(vendor: Path) -> Starlette:
    sessions: dict[str, Stored] = {}

    async def graphql(request: Request) -> Response:
        if request.method == "GET":
            return pages.ide(vendor)
        credential = request.headers.get("Authorization")
        own = sessions.get(credential.removeprefix("Bearer ")) if credential else None
        if credential and not own:
            return JSONResponse({"errors": [{"message": "Unknown token."}]}, status_code=401)
        asked = await request.json()
        result = graphql_sync(
            SCHEMA,
            asked["query"],
            resolvers(sessions, own),
            variable_values=asked.get("variables"),
            operation_name=asked.get("operationName"),
        )
        return JSONResponse(result.formatted)

    page = Route("/graphql", graphql, methods=["GET", "POST"])
    return Starlette(routes=[page, *pages.routes(vendor)])


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


@pytest.fixture(scope="session")
def vendor() -> Path:
    done = subprocess.run(
        [sys.executable, TOOL, "graphiql"], capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        pytest.fail(done.stderr)
    return pages.VENDOR


@pytest.fixture
def live_server(vendor: Path) -> Iterator[str]:
    with served(app(vendor)) as origin:
        yield origin


# The browser.


@dataclass
class Visit:
    """One page, and what it asked for and said."""

    page: Page
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def check(self, origin: str, *secrets: str) -> None:
        """Nothing was said, nobody else was asked, and no secret stays behind or shows."""
        assert self.console == []
        assert [url for url in self.requests if not url.startswith((f"{origin}/", "data:"))] == []
        stored = self.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert stored == "[{},{}]"
        cookies = self.page.context.cookies()
        seen = json.dumps([self.requests, self.page.url, self.page.title(), cookies])
        assert not [secret for secret in secrets if secret in seen]


@pytest.fixture
def visit() -> Iterator[Visit]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*options, offline])
        visit = Visit(browser.new_page())
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.on("console", lambda message: visit.console.append(message.text))
        visit.page.on("pageerror", lambda error: visit.console.append(str(error)))
        yield visit
        browser.close()


def editor(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name).locator(".CodeMirror:visible")


def switch(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(500)  # until then GraphiQL sends the former tab's operationName


def write(page: Page, name: str, text: str) -> None:
    editor(page, name).click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def found(pattern: str, answer: Locator) -> str:
    """What the group of the pattern matches, once the answer is there."""
    expect(answer).to_contain_text(re.compile(pattern))
    match = re.search(pattern, answer.inner_text())
    assert match
    return match[1]


# GraphiQL.


def answer_of(page: Page) -> Locator:
    return page.locator(".result-window")


@needs_chromium
@pytest.mark.usefixtures("vendor")
def test_a_request_runs_by_click_and_by_keyboard(live_server: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{live_server}/graphql")
    page.get_by_role("button", name="Execute query").click()
    first = found(r'"token": "([^"]+)"', answer_of(page))
    editor(page, "Query Editor").click()
    page.keyboard.press("Control+Enter")
    expect(answer_of(page)).not_to_contain_text(first)
    second = found(r'"token": "([^"]+)"', answer_of(page))
    visit.check(live_server, first, second)


@needs_chromium
@pytest.mark.usefixtures("vendor")
def test_create_list_and_revoke_from_tab_to_tab(live_server: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{live_server}/graphql")
    page.get_by_role("button", name="Execute query").click()
    token = found(r'"token": "([^"]+)"', answer_of(page))
    label = found(r'"label": "([^"]+)"', answer_of(page))
    headers = json.dumps({"Authorization": f"Bearer {token}"})

    switch(page, "MySessions")
    write(page, "Headers", headers)
    page.keyboard.press("Control+Enter")
    expect(answer_of(page)).to_contain_text(f'"label": "{label}"')
    expect(answer_of(page)).to_contain_text('"isCurrent": true')
    session = found(r'"id": "([^"]+)"', answer_of(page))

    switch(page, "Revoke")
    write(page, "Headers", headers)
    page.get_by_role("button", name="Variables").click()
    write(page, "Variables", json.dumps({"id": session}))
    page.keyboard.press("Control+Enter")
    expect(answer_of(page)).to_contain_text('"status": "REVOKED"')

    page.wait_for_timeout(1000)  # GraphiQL writes its storage half a second late
    visit.check(live_server, token)


@needs_chromium
@pytest.mark.usefixtures("vendor")
def test_a_token_not_yet_pasted_is_not_sent(live_server: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{live_server}/graphql")
    switch(page, "MySessions")
    with page.expect_response("**/graphql") as refetched:
        page.get_by_role("button", name="Re-fetch GraphQL schema").click()
    assert refetched.value.status == 200
    with page.expect_response("**/graphql") as ran:
        page.get_by_role("button", name="Execute query").click()
    assert "authorization" not in ran.value.request.headers
    expect(answer_of(page)).to_contain_text('"errors"')


@needs_chromium
@pytest.mark.usefixtures("vendor")
def test_the_schema_is_read_without_the_token(live_server: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{live_server}/graphql")
    write(page, "Headers", json.dumps({"authorization": "Bearer long-dead"}))
    with page.expect_response("**/graphql") as refetched:
        page.get_by_role("button", name="Re-fetch GraphQL schema").click()
    assert refetched.value.status == 200
    visit.check(live_server)


@needs_chromium
@pytest.mark.usefixtures("vendor")
def test_docs_and_completion_live_under_trusted_types(live_server: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{live_server}/graphql")
    page.get_by_role("button", name="Show Documentation Explorer").click()
    page.get_by_role("link", name="Mutation").click()
    expect(page.get_by_role("link", name="createSession")).to_be_visible()
    write(page, "Query Editor", "mutation { ")
    page.keyboard.press("Control+Space")
    expect(page.locator(".CodeMirror-hints")).to_contain_text("createSession")
    visit.check(live_server)


@needs_chromium
@pytest.mark.usefixtures("vendor")
@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ("<p>An <code class='x'>id</code></p>", "<p>An <code>id</code></p>"),
        ("<p onclick='x()'>a</p><img src=x onerror='x()'>", "<p>a</p>"),
        ("<scr<script>ipt>x()</script>", "ipt&gt;x()"),
        ("<<p>p><svg/onload=x()", "<p>p&gt;</p>"),
        ("<!--><iframe srcdoc='<p>'>", "<p>'&gt;</p>"),
        ("<P ID=x>a</P>", "a"),
    ],
)
def test_html_keeps_only_bare_harmless_tags(
    live_server: str, visit: Visit, html: str, kept: str
) -> None:
    visit.page.goto(f"{live_server}/graphql")
    expect(answer_of(visit.page)).to_be_visible()
    script = "html => Object.assign(document.createElement('div'), {innerHTML: html}).innerHTML"
    assert visit.page.evaluate(script, html) == kept


# The console.


@needs_chromium
def test_the_console_stands_in(tmp_path: Path, visit: Visit) -> None:
    page = visit.page
    answer = page.get_by_role("region", name="Answer").locator("pre")
    with served(app(tmp_path)) as origin:
        page.goto(f"{origin}/graphql")
        expect(page.get_by_text("make graphiql")).to_be_visible()
        page.get_by_role("button", name="Run").click()
        token = found(r'"token": "([^"]+)"', answer)
        page.get_by_role("button", name="Use this token").click()
        expect(page.get_by_label("Token")).to_have_value(token)

        page.get_by_role("button", name="My sessions").click()
        page.get_by_label("Query").press("Control+Enter")
        expect(answer).to_contain_text('"isCurrent": true')
        expect(page.get_by_role("status")).to_contain_text("HTTP 200")
        session = found(r'"id": "([^"]+)"', answer)

        page.get_by_role("button", name="Revoke").click()
        page.get_by_label("Variables").fill("{")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("status")).to_have_text("The variables are not JSON.")
        page.get_by_label("Variables").fill(json.dumps({"id": session}))
        page.get_by_role("button", name="Run").click()
        expect(answer).to_contain_text('"status": "REVOKED"')
        visit.check(origin, token)

        page.reload()
        expect(page.get_by_label("Token")).to_have_value("")


@needs_chromium
def test_the_console_can_make_no_html(tmp_path: Path, visit: Visit) -> None:
    with served(app(tmp_path)) as origin:
        visit.page.goto(f"{origin}/graphql")
        for attempt in ("document.body.innerHTML = 'x'", "trustedTypes.createPolicy('x', {})"):
            script = f"() => {{ try {{ {attempt} }} catch (error) {{ return error.name }} }}"
            assert visit.page.evaluate(script) == "TypeError"


# The files.


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app(tmp_path)) as client:
        yield client


def test_the_page_follows_the_files_while_the_server_runs(
    client: TestClient, tmp_path: Path, vendor: Path
) -> None:
    assert "make graphiql" in client.get("/graphql").text
    shutil.copytree(vendor, tmp_path, dirs_exist_ok=True)
    page = client.get("/graphql")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    loaded = re.findall(r'(?:src|href)="(graphiql/[^"]+)"', page.text)
    assert len(loaded) == 7
    for path in loaded:
        assert client.get(f"/{path}").status_code == 200
    (tmp_path / "react.production.min.js").unlink()
    assert "make graphiql" in client.get("/graphql").text
    assert client.get("/graphiql/react.production.min.js").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["console.html", "react.LICENSE", "", "..%2fpages.py", "%2e%2e/pages.py", "%00"],
)
def test_nothing_else_can_be_had(client: TestClient, name: str) -> None:
    assert client.get(f"/graphiql/{name}").status_code == 404


def test_a_file_is_only_sent_when_it_is_new(client: TestClient) -> None:
    first = client.get("/graphiql/boot.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = client.get("/graphiql/boot.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get("/graphiql/boot.js", headers={"If-None-Match": '"x"'}).status_code == 200
    assert client.head("/graphiql/boot.js").headers["content-length"] == str(len(first.content))
    assert client.post("/graphiql/boot.js").status_code == 405


# Fetching them, with an npm of our own.


def fetch_with(npm: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit\n{npm}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    tool = folder / "tools" / TOOL.name
    tool.parent.mkdir()
    shutil.copy(TOOL, tool)
    return subprocess.run(
        [sys.executable, tool, "graphiql"],
        env={"PATH": f"{program.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_network_one_line_says_what_to_do_later(tmp_path: Path) -> None:
    done = fetch_with("echo 'npm error code ENOTFOUND' >&2; exit 1", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "make graphiql" in done.stderr
    assert "ENOTFOUND" in done.stderr
    assert list((tmp_path / ".state").iterdir()) == []


def test_a_file_we_do_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "graphiql.min.js").write_text("alert(1)")
    with tarfile.open(tmp_path / "graphiql-4.1.2.tgz", "w:gz") as tarball:
        tarball.add(tmp_path / "package", "package")
    done = fetch_with(f"cp {tmp_path}/*.tgz tarballs", tmp_path)
    assert done.returncode == 1
    assert "graphiql.min.js of graphiql 4.1.2 is not the file we know" in done.stderr
    assert list((tmp_path / ".state").iterdir()) == []
