"""The sessions page at /, in Chromium: windows of a person's devices, on the real server.

What a window says to its console, asks of anybody and leaves behind is looked at in every test.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    WebSocketRoute,
    expect,
    sync_playwright,
)
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import create_app
from settings import ROOT
from web import pages

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
TOOL = ROOT / "tools" / "fetch_graphiql.py"
PASSWORD = "seven odd otters juggle"
OTHER = "four quiet herons argue"
EVERYBODY = "Everybody\u2019s sessions"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
)
# What the browser itself says of a refused request; it names an address, and no page can stop it.
BROWSERS_OWN = ("Failed to load resource: ", "WebSocket connection to ")


# Windows.


@dataclass
class Window:
    """One window of a device of its own, and what it said and asked for."""

    page: Page
    origin: str
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def watch(self) -> None:
        """Notes what happens from now on."""
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("framenavigated", lambda frame: self.requests.append(frame.url))

    def button(self, name: str, *, exact: bool = True) -> Locator:
        """A button by its name."""
        return self.page.get_by_role("button", name=name, exact=exact)

    def title(self, name: str) -> Locator:
        """A heading by its text."""
        return self.page.get_by_role("heading", name=name, exact=True)

    @property
    def devices(self) -> Locator:
        """The lines of the list."""
        return self.page.locator("#devices > li")

    def begin(self) -> "Window":
        """Begins as a guest."""
        self.button("Begin as a guest").click()
        expect(self.title("Your devices")).to_be_visible()
        return self

    @property
    def own(self) -> str:
        """The label of the window's own session."""
        expect(self.devices.filter(has_text="this device")).to_have_count(1)
        return self.devices.filter(has_text="this device").locator("[data-slot=label]").inner_text()

    @property
    def token(self) -> str | None:
        """What the window keeps."""
        kept: str | None = self.page.evaluate("sessionStorage['bigtwo-sessions.token'] ?? null")
        if kept:
            self.tokens.add(kept)
        return kept

    def link_code(self) -> str:
        """A code for another window; the dialog stays open."""
        self.button("Link a device").click()
        output = self.page.locator("#link output")
        expect(output).not_to_be_empty()
        return output.inner_text()

    def enter(self, code: str) -> "Window":
        """Signs in with another window's code."""
        self.button("Enter a code").click()
        self.page.get_by_label("Code", exact=True).fill(code)
        self.page.locator("#enter-code").get_by_role("button", name="Sign in").click()
        expect(self.title("Your devices")).to_be_visible()
        return self

    def welcome(self, other: "Window") -> "Window":
        """Lets another window sign in with a code of this one, and sees it there."""
        other.enter(self.link_code())
        self.come_back()
        expect(self.page.locator("#link")).to_be_hidden()
        expect(self.devices).to_have_count(2)
        return other

    def claim(self, username: str, password: str = PASSWORD) -> "Window":
        """Makes the guest an account."""
        self.button("Claim an account").click()
        self.fill("#claim", username=username, password=password)
        self.page.keyboard.press("Enter")
        expect(self.button("Change password")).to_be_visible()
        return self

    def sign_in(self, username: str, password: str = PASSWORD) -> "Window":
        """Signs in with a password."""
        self.button("Sign in").click()
        self.fill("#sign-in", username=username, password=password)
        self.page.keyboard.press("Enter")
        return self

    def fill(self, dialog: str, **fields: str) -> None:
        """Types into the fields of a dialog."""
        for name, text in fields.items():
            self.page.locator(f"{dialog} [name={name}]").fill(text)

    def come_back(self) -> None:
        """What a person does who comes back to the window: it reads its list again."""
        self.page.evaluate("window.dispatchEvent(new Event('focus'))")

    def check(self) -> None:
        """Nothing was said, nobody else was asked, and no token shows where it should not."""
        assert [line for line in self.console if not line.startswith(BROWSERS_OWN)] == []
        socket = self.origin.replace("http", "ws", 1)
        ours = (f"{self.origin}/", f"{socket}/", "about:blank")
        assert [url for url in self.requests if not url.startswith(ours)] == []
        _ = self.token
        left = "[{...localStorage}, document.cookie, document.title, history.state, location.href]"
        seen = [self.console, self.requests, self.page.evaluate(left), self.page.content()]
        assert not [token for token in self.tokens if token in json.dumps(seen)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*options, offline])
        yield browser
        browser.close()


OpenWindow = Callable[..., Window]


@pytest.fixture
def origin(serve_app: Any, make_settings: Any) -> str:
    return str(serve_app(create_app(make_settings())))


@pytest.fixture
def open_window(browser: Browser, origin: str) -> Iterator[OpenWindow]:
    """Opens the page on one more device; prepare(page) is called before."""
    windows: list[Window] = []
    contexts: list[BrowserContext] = []

    def open_(path: str = "/", prepare: Any = None, **options: Any) -> Window:
        contexts.append(browser.new_context(**options))
        window = Window(contexts[-1].new_page(), origin)
        window.watch()
        windows.append(window)
        if prepare:
            prepare(window.page)
        window.page.goto(f"{origin}{path}")
        return window

    yield open_
    for window in windows:
        window.check()
    for context in contexts:
        context.close()


@pytest.fixture
def sql(database_url: str) -> Callable[..., None]:
    """Runs a statement, from a test whose thread has a browser's loop."""

    async def run(statement: str, *values: Any) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(statement, *values)
        await connection.close()

    def execute(statement: str, *values: Any) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(run(statement, *values))).result()

    return execute


@pytest.fixture(scope="module")
def fetched() -> Path:
    """The folder of third-party files: QR codes, and what pages are audited with."""
    done = subprocess.run(
        [sys.executable, TOOL, "qr", "audit"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stderr)
    return pages.STATE


# Two devices.


@needs_chromium
def test_two_devices_see_each_other_and_a_rename(open_window: OpenWindow) -> None:
    desk = open_window().begin()
    code = desk.link_code()
    expect(desk.page.locator("#link")).to_contain_text("Good for")
    phone = open_window(user_agent=PHONE).enter(code.lower().replace("-", " "))
    desk.come_back()
    expect(desk.page.locator("#link")).to_be_hidden()
    expect(desk.devices).to_have_count(2)
    expect(phone.devices).to_have_count(2)
    theirs = desk.devices.filter(has_text=phone.own)
    expect(theirs).to_contain_text("Mobile Safari on iOS")
    expect(theirs.locator("use")).to_have_attribute("href", "#icon-mobile")

    phone.button(f"Rename {desk.own}").click()
    phone.page.get_by_label("Name", exact=True).fill("<b onclick=alert(1)>desk</b>")
    phone.page.keyboard.press("Enter")
    expect(phone.devices.nth(1)).to_contain_text("<b onclick=alert(1)>desk</b>")
    desk.come_back()
    expect(desk.devices.first).to_contain_text("<b onclick=alert(1)>desk</b>")
    expect(desk.page.locator("#said")).to_contain_text("is now called")


@needs_chromium
def test_a_revoked_window_says_why_and_begins_again(open_window: OpenWindow) -> None:
    desk = open_window().begin()
    phone = desk.welcome(open_window())
    label, dead = phone.own, phone.token
    desk.button(f"Sign out {label}").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    ended = desk.devices.filter(has_text=label)
    expect(ended).to_contain_text("ended by you")
    expect(ended.get_by_role("button")).to_have_count(0)

    phone.come_back()
    expect(phone.title("You were signed out")).to_be_focused()
    shown = phone.page.locator("main")
    expect(shown).to_contain_text("ended from another of your devices")
    expect(shown).to_contain_text(f"This was {label}")
    expect(shown).to_contain_text("It happened on")
    assert phone.token is None
    phone.begin()
    assert phone.token not in {None, dead}


@needs_chromium
def test_what_one_window_does_reaches_the_other_by_itself(open_window: OpenWindow) -> None:
    desk = open_window().begin()
    phone = desk.welcome(open_window())
    for window in (desk, phone):
        expect(window.page.locator("#live")).to_have_text("Live")
    label = phone.own
    desk.button(f"Rename {desk.own}").click()
    desk.page.get_by_label("Name", exact=True).fill("the desk")
    desk.page.keyboard.press("Enter")
    expect(phone.devices.nth(1)).to_contain_text("the desk")
    desk.button(f"Sign out {label}").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    expect(phone.title("You were signed out")).to_be_visible()
    expect(phone.page.locator("main")).to_contain_text("ended from another of your devices")
    assert phone.token is None


@needs_chromium
def test_the_others_end_and_then_all(open_window: OpenWindow) -> None:
    desk = open_window().begin()
    phone = desk.welcome(open_window())
    desk.button("Sign out all others").click()
    desk.button("Sign out the others").click()
    expect(desk.button("Sign out all others")).to_be_disabled()
    phone.come_back()
    expect(phone.title("You were signed out")).to_be_visible()
    desk.button("Sign out everywhere").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Sign out everywhere").click()
    expect(desk.title("Your devices, at a glance")).to_be_focused()


@needs_chromium
def test_nothing_of_a_session_is_left_after_signing_out(open_window: OpenWindow) -> None:
    window = open_window().begin()
    token, label = window.token, window.own
    window.page.reload()
    expect(window.devices).to_contain_text(label)
    window.button("Sign out").click()
    window.page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    expect(window.title("Your devices, at a glance")).to_be_visible()
    kept = window.page.evaluate(
        "indexedDB.databases().then((found) =>"
        " [found, {...sessionStorage}, {...localStorage}, history.length])"
    )
    assert token
    assert kept[:3] == [[], {}, {}]
    assert window.page.context.cookies() == []
    assert label not in window.page.content()
    window.page.go_back()
    window.page.go_forward()
    expect(window.title("Your devices, at a glance")).to_be_visible()


# Links and codes.


@needs_chromium
def test_a_link_leaves_the_address_at_once_and_asks_first(open_window: OpenWindow) -> None:
    desk = open_window().begin()
    code = desk.link_code()
    methods: list[str] = []

    def note(page: Page) -> None:
        page.on("request", lambda request: methods.append(request.method))

    phone = open_window(f"/#link={code}", note)
    dialog = phone.page.get_by_role("dialog")
    expect(dialog).to_contain_text("only if you made it yourself")
    expect(dialog.get_by_label("Code")).to_have_value(code)
    assert phone.page.url == f"{phone.origin}/"
    assert set(methods) == {"GET"}
    dialog.get_by_role("button", name="Not now").click()
    expect(phone.title("Your devices, at a glance")).to_be_visible()
    assert phone.token is None

    phone.page.goto(f"{phone.origin}/#link={code}")  # in a window that is open already
    dialog.get_by_role("button", name="Sign in").click()
    expect(phone.devices).to_have_count(2)
    phone.page.go_back()
    assert code not in phone.page.url
    assert not [url for url in phone.requests if code in url.partition("#")[0]]


@needs_chromium
def test_the_qr_code_reads_as_this_page_with_the_code_in_the_fragment(
    open_window: OpenWindow, browser: Browser, fetched: Path
) -> None:
    desk = open_window().begin()
    code = desk.link_code()
    canvas = desk.page.locator("#link canvas")
    expect(canvas).to_be_visible()
    pixels = canvas.evaluate(
        """(canvas) => {
          const { width } = canvas;
          return [width, [...canvas.getContext("2d").getImageData(0, 0, width, width).data]];
        }"""
    )
    reader = browser.new_page()
    reader.add_script_tag(path=fetched / "audit" / "jsQR.js")
    scaled = """([width, data]) => {  // a reader wants more than a pixel for a module
      const scale = 4, size = width * scale, wide = new Uint8ClampedArray(size * size * 4);
      for (let i = 0; i < size * size; i += 1) {
        const x = Math.floor((i % size) / scale), y = Math.floor(i / size / scale);
        wide.set(data.slice((y * width + x) * 4, (y * width + x) * 4 + 4), i * 4);
      }
      return jsQR(wide, size, size)?.data;
    }"""
    assert reader.evaluate(scaled, pixels) == f"{desk.origin}/#link={code}"
    reader.close()


@needs_chromium
def test_a_wrong_code_is_said_in_the_dialog(open_window: OpenWindow) -> None:
    window = open_window()
    window.button("Enter a code").click()
    window.page.get_by_label("Code", exact=True).fill("0000-0000-0000-0000")
    window.page.keyboard.press("Enter")
    expect(window.page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
    window.page.keyboard.press("Escape")
    expect(window.button("Enter a code")).to_be_focused()


# Accounts.


@needs_chromium
def test_claim_sign_in_and_change_the_password(open_window: OpenWindow) -> None:
    desk = open_window().begin()
    desk.button("Claim an account").click()
    desk.fill("#claim", username="magnolia", password="short")
    desk.page.keyboard.press("Enter")
    field = desk.page.locator("#claim [name=password]")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    desk.page.keyboard.press("Escape")
    desk.claim("magnolia")
    expect(desk.page.locator("#who")).to_contain_text("magnolia")

    phone = open_window().sign_in("magnolia", "not this one, I fear")
    expect(phone.page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
    phone.page.keyboard.press("Escape")
    expect(phone.page.locator("#sign-in [name=password]")).to_have_value("")
    phone.sign_in("magnolia")
    expect(phone.devices).to_have_count(2)

    phone.button("Change password").click()
    phone.fill("#change-password", currentPassword=PASSWORD, newPassword=OTHER)
    phone.page.keyboard.press("Enter")
    expect(phone.page.locator("#said")).to_contain_text("The password is changed")
    expect(phone.devices).to_have_count(1)
    desk.come_back()
    expect(desk.page.locator("main")).to_contain_text("A way to sign in was changed")
    desk.sign_in("magnolia", OTHER)
    expect(desk.devices).to_have_count(2)


@needs_chromium
def test_a_dangerous_act_asks_for_the_password_and_then_goes_on(
    open_window: OpenWindow, sql: Callable[..., None]
) -> None:
    desk = open_window().begin().claim("peony")
    phone = open_window().sign_in("peony")
    expect(phone.devices).to_have_count(2)
    sql("UPDATE user_sessions SET authenticated_at = authenticated_at - interval '1 hour'")
    phone.button(f"Sign out {desk.own}").click()
    phone.page.locator("#confirm").get_by_role("button", name="Sign out").click()
    expect(phone.title("Is it you?")).to_be_visible()
    phone.fill("#prove", password=PASSWORD)
    phone.page.keyboard.press("Enter")
    expect(phone.page.get_by_role("dialog")).to_have_count(0)
    desk.come_back()
    expect(desk.title("You were signed out")).to_be_visible()
    assert phone.token


@needs_chromium
def test_an_account_is_deleted_by_its_name(open_window: OpenWindow) -> None:
    window = open_window().begin().claim("begonia")
    window.button("Delete everything").click()
    window.fill("#delete-account", confirmUsername="petunia")
    window.page.keyboard.press("Enter")
    expect(window.page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
    window.fill("#delete-account", confirmUsername="begonia")
    window.page.keyboard.press("Enter")
    expect(window.title("Your devices, at a glance")).to_be_visible()
    expect(window.page.locator("#said")).to_have_text("Everything is deleted.")
    assert window.token is None


# Administrators.


@needs_chromium
def test_administrators_find_page_and_end_many_after_a_preview(
    open_window: OpenWindow, sql: Callable[..., None]
) -> None:
    guest = open_window().begin()
    guest_name = guest.page.locator("#who strong").inner_text()
    admin = open_window().begin().claim("dahlia")
    expect(admin.button(EVERYBODY)).to_be_hidden()
    sql(
        """INSERT INTO user_sessions
               (user_id, id, label, expires_at, activity_resolution)
           SELECT id, gen_random_uuid(), 'lamp-' || n, now() + interval '1 day', interval '60 s'
           FROM users, generate_series(1, 30) AS n WHERE username = $1""",
        guest_name,
    )
    sql("UPDATE users SET role = 'ADMIN' WHERE username = 'dahlia'")
    admin.page.reload()
    admin.button(EVERYBODY).click()
    entries = admin.page.locator("#entries > li")
    expect(entries).to_have_count(25)
    admin.button("Older").click()
    expect(admin.page.locator("#everybody")).to_contain_text("Page 2")
    admin.button("Newer").click()
    expect(entries).to_have_count(25)
    expect(admin.button("Sign out all of these …")).to_be_disabled()

    admin.page.locator("#filter").get_by_label("User name").fill(guest_name)
    admin.page.get_by_label("Status").select_option("live")
    admin.button("Show").click()
    expect(entries.filter(has_text="dahlia")).to_have_count(0)
    admin.button("Sign out all of these …").click()
    dialog = admin.page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"User name: {guest_name}; Status: live")
    expect(dialog).to_contain_text("31 live sessions")
    expect(dialog.get_by_role("listitem")).to_have_count(8)
    guest.come_back()
    expect(guest.title("Your devices")).to_be_visible()  # a preview ends nothing
    dialog.get_by_role("button", name="Sign out 31 sessions").click()
    expect(admin.page.locator("#said")).to_contain_text("31 sessions signed out")
    guest.come_back()
    expect(guest.page.locator("main")).to_contain_text("An administrator ended this session")
    admin.button("Your devices").click()
    expect(admin.devices).to_have_count(1)


# For everybody's eyes and hands.


@needs_chromium
def test_the_main_flow_needs_a_keyboard_only(open_window: OpenWindow) -> None:
    desk = open_window()
    keyboard = desk.page.keyboard

    def go_to(name: str) -> None:
        for _ in range(20):
            keyboard.press("Tab")
            if desk.page.evaluate("document.activeElement.textContent.trim()") == name:
                return
        pytest.fail(f"{name} cannot be reached")

    go_to("Begin as a guest")
    keyboard.press("Enter")
    expect(desk.title("Your devices")).to_be_focused()
    go_to("Link a device")
    keyboard.press("Space")
    expect(desk.page.locator("#link output")).not_to_be_empty()
    code = desk.page.locator("#link output").inner_text()
    phone = open_window().enter(code)
    label = phone.own
    desk.come_back()
    expect(desk.page.locator("#link")).to_be_hidden()
    expect(desk.button("Link a device")).to_be_focused()
    go_to("Rename")
    keyboard.press("Enter")
    expect(desk.page.get_by_label("Name", exact=True)).to_be_focused()
    keyboard.type("the desk")
    keyboard.press("Enter")
    expect(desk.devices.first).to_contain_text("the desk")
    expect(desk.button("Rename the desk")).to_be_focused()
    go_to("Sign out")
    keyboard.press("Enter")
    expect(desk.page.locator("#confirm").get_by_role("button", name="Cancel")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(desk.title("Signed in")).to_be_focused()
    expect(desk.devices.filter(has_text=label)).to_contain_text("ended by you")


AUDIT = """async () => {
  const { violations } = await axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  });
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}"""
VIEWS = ["welcome", "home", "rename", "link", "claim", "everybody", "ended"]


def go(window: Window, view: str, sql: Callable[..., None]) -> None:
    """Shows a view, from the one before it."""
    page = window.page
    if view == "home":
        window.begin()
        window.button(f"Rename {window.own}").click()
        page.get_by_label("Name", exact=True).fill("a-device-with-a-very-long-name-" * 2)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_have_count(0)
    elif view == "rename":
        window.devices.get_by_role("button").first.click()
    elif view == "link":
        page.keyboard.press("Escape")
        window.button("Link a device").click()
        expect(page.locator("#link canvas")).to_be_visible()
    elif view == "claim":
        page.keyboard.press("Escape")
        window.button("Claim an account").click()
    elif view == "everybody":
        page.keyboard.press("Escape")
        window.claim("hollyhock")
        sql("UPDATE users SET role = 'ADMIN'")
        page.reload()
        window.button(EVERYBODY).click()
        expect(page.locator("#entries > li")).not_to_have_count(0)
        page.get_by_text("By time and user id").click()
    elif view == "ended":
        sql("UPDATE user_sessions SET revoked_at = now(), revoked_reason = 'REVOKED_BY_ADMIN'")
        window.come_back()
        expect(window.title("You were signed out")).to_be_visible()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible_in_light_and_dark_and_fits_a_phone(
    open_window: OpenWindow, sql: Callable[..., None], fetched: Path, scheme: str
) -> None:
    """By axe-core: names, roles, landmarks, contrast of WCAG 2.2 AA; nothing scrolls sideways."""
    phone = {"width": 320, "height": 640}
    window = open_window(viewport=phone, color_scheme=scheme, reduced_motion="reduce")
    axe = (fetched / "audit" / "axe.min.js").read_text()
    found = {}
    for view in VIEWS:
        go(window, view, sql)
        window.page.evaluate(axe)
        found[view] = window.page.evaluate(AUDIT)
        assert window.page.evaluate("document.documentElement.scrollWidth") <= 320, view
    assert found == {view: [] for view in VIEWS}


@needs_chromium
def test_a_device_that_comes_and_goes_moves_nothing(open_window: OpenWindow) -> None:
    desk = open_window(viewport={"width": 1280, "height": 800}).begin()
    code = desk.link_code()
    desk.button("Close").click()
    places = """() => {
      const shown = [...document.querySelectorAll("#devices > li, main button")];
      return shown.slice(0, 3).map((element) => {
        const { x, y, height } = element.getBoundingClientRect();
        return [x, y, height];
      });
    }"""
    before = desk.page.evaluate(places)
    phone = open_window().enter(code)
    desk.come_back()
    expect(desk.devices).to_have_count(2)
    assert desk.page.evaluate(places) == before
    height = desk.devices.nth(1).bounding_box()
    phone.button("Sign out").click()
    expect(phone.title("Your devices, at a glance")).to_be_visible()
    desk.come_back()
    expect(desk.devices.nth(1)).to_have_class("device ended")
    assert desk.devices.nth(1).bounding_box() == height


@needs_chromium
def test_a_server_that_is_away_costs_nobody_the_session(open_window: OpenWindow) -> None:
    window = open_window().begin()
    token = window.token
    window.page.context.set_offline(True)
    window.button("Link a device").click()
    expect(window.page.locator("#said")).to_contain_text("cannot be reached")
    window.page.context.set_offline(False)
    assert window.token == token
    window.link_code()


# The socket, by the contract: the page's own server, with another end of the socket that is told
# what to send.


@dataclass
class Wire:
    """The other ends of a page's sockets, and all that came in."""

    ends: list[WebSocketRoute] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    is_quiet: bool = False
    page: Page | None = None

    def lay(self, page: Page) -> None:
        """Puts us at the other end of a page's sockets."""
        self.page = page
        page.route_web_socket("**/graphql", self.take)

    def take(self, end: WebSocketRoute) -> None:
        """One more socket."""
        self.ends.append(end)
        end.on_message(lambda text: self.answer(end, json.loads(text)))

    def answer(self, end: WebSocketRoute, message: dict[str, Any]) -> None:
        """What is said to a message of the page."""
        self.received.append(message)
        if message["type"] == "connection_init" and not self.is_quiet:
            end.send(json.dumps({"type": "connection_ack"}))
        if message.get("payload", {}).get("query", "").startswith("query"):
            data = self.ask(message["payload"]["query"])
            end.send(json.dumps({"id": message["id"], "type": "next", "payload": data}))
            end.send(json.dumps({"id": message["id"], "type": "complete"}))

    def ask(self, query: str) -> Any:
        """What the real server answers to the window."""
        init = [m for m in self.received if m["type"] == "connection_init"][-1]
        assert self.page
        answered = self.page.request.post(
            "/graphql",
            data={"query": query},
            headers={"Authorization": init["payload"]["Authorization"]},
        )
        return answered.json()

    def tell(self, **message: Any) -> None:
        """Sends a message on the newest socket."""
        self.ends[-1].send(json.dumps(message))

    def event(self, kind: str, session: dict[str, Any]) -> None:
        """Tells the subscription an event."""
        data = {"mySessionEvents": {"kind": kind, "session": session}}
        subscription = next(m for m in reversed(self.received) if is_subscription(m))
        self.tell(id=subscription["id"], type="next", payload={"data": data})

    def refuse(self, **extensions: str) -> None:
        """Ends the subscription with a verdict."""
        error = {"message": "No.", "extensions": {"code": "UNAUTHENTICATED"} | extensions}
        subscription = next(m for m in reversed(self.received) if is_subscription(m))
        self.tell(id=subscription["id"], type="error", payload=[error])

    def count(self, kind: str) -> int:
        """How many messages of a type came in."""
        return len([message for message in self.received if message["type"] == kind])


def is_subscription(message: dict[str, Any]) -> bool:
    query: str = message.get("payload", {}).get("query", "")
    return query.startswith("subscription")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def live(open_window: OpenWindow, origin: str, wire: Wire) -> Window:
    """A window whose socket is ours."""
    window = open_window(prepare=wire.lay, base_url=origin).begin()
    expect(window.page.locator("#live")).to_have_text("Live")
    return window


STRANGER = {
    "id": "another",
    "label": "calm-heron",
    "status": "ACTIVE",
    "isCurrent": False,
    **dict.fromkeys(("createdAt", "lastActiveAt", "authenticatedAt"), "2026-01-01T12:00:00Z"),
    **dict.fromkeys(("expiresAt", "idleExpiresAt"), "2046-01-01T12:00:00Z"),
    "revokedAt": None,
    "revokedReason": None,
    "client": {"name": "Firefox", "os": "Windows", "deviceType": "desktop", "ipAddress": None},
}


@needs_chromium
def test_a_socket_is_greeted_and_read_from_as_the_contract_says(live: Window, wire: Wire) -> None:
    first, second, third = wire.received[-3:]
    assert first == {
        "type": "connection_init",
        "payload": {"Authorization": f"Bearer {live.token}"},
    }
    assert is_subscription(second)  # before the list is read, so that nothing is missed
    assert third["payload"]["query"].startswith("query")
    assert second["id"] != third["id"]
    wire.tell(type="ping", payload={"beat": 7})
    live.page.wait_for_timeout(100)
    assert wire.received[-1] == {"type": "pong", "payload": {"beat": 7}}


@needs_chromium
def test_events_show_at_once_and_ask_for_nothing(live: Window, wire: Wire) -> None:
    asked = len(live.requests)
    wire.event("CREATED", STRANGER)
    expect(live.devices).to_have_count(2)
    expect(live.devices.nth(1)).to_contain_text("Firefox on Windows")
    expect(live.page.locator("#said")).to_have_text("calm-heron signed in.")
    wire.event("UPDATED", STRANGER | {"label": "loud-heron"})
    expect(live.devices.nth(1)).to_contain_text("loud-heron")
    wire.event(
        "REVOKED",
        STRANGER | {"label": "loud-heron", "status": "REVOKED", "revokedReason": "SIGNED_OUT"},
    )
    expect(live.devices.nth(1)).to_contain_text("signed out")
    expect(live.devices).to_have_count(2)
    assert len(live.requests) == asked


@needs_chromium
def test_the_reason_comes_with_the_error_before_the_close(live: Window, wire: Wire) -> None:
    _ = live.token
    wire.refuse(reason="SESSION_REVOKED", revokedReason="SESSION_LIMIT")
    wire.ends[-1].close(code=4401)
    expect(live.page.locator("main")).to_contain_text("the oldest session")
    assert live.token is None
    live.page.wait_for_timeout(1500)
    assert wire.count("connection_init") == 1  # nobody comes back with a dead token


@needs_chromium
def test_a_close_without_a_word_is_asked_about(
    live: Window, wire: Wire, sql: Callable[..., None]
) -> None:
    sql("DELETE FROM user_sessions")
    wire.ends[-1].close(code=4401)
    expect(live.page.locator("main")).to_contain_text("The session no longer exists")


@needs_chromium
def test_a_socket_that_closes_for_now_comes_back_with_the_list(
    live: Window, wire: Wire, sql: Callable[..., None]
) -> None:
    for times, code in enumerate([1012, 1013, 4408], start=2):
        sql("UPDATE user_sessions SET label = $1", f"renamed-{code}")
        wire.is_quiet = True
        wire.ends[-1].close(code=code)
        expect(live.page.locator("#live")).to_have_text("Reconnecting …")
        expect(live.devices).to_contain_text(f"renamed-{code}")  # read although nothing is live
        wire.is_quiet = False
        wire.tell(type="connection_ack")
        expect(live.page.locator("#live")).to_have_text("Live")
        assert wire.count("connection_init") == times


@needs_chromium
def test_a_socket_that_is_not_wanted_is_let_be_until_the_person_returns(
    live: Window, wire: Wire
) -> None:
    for times, code in enumerate([1008, 1009, 1011, 4400, 4406, 4409, 4429], start=1):
        wire.ends[-1].close(code=code)
        expect(live.page.locator("#live")).to_contain_text("updated when you return")
        assert wire.count("connection_init") == times
        live.come_back()
        expect(live.page.locator("#live")).to_have_text("Live")


@needs_chromium
def test_word_of_ones_own_replacement_may_come_before_the_new_token(
    live: Window, wire: Wire
) -> None:
    """The socket of the old session ends while the answer with the new token is on its way."""
    old = live.token

    def hold(route: Route) -> None:
        answer = route.fetch()
        if "claimAccount" in (route.request.post_data or ""):
            wire.refuse(reason="SESSION_REVOKED", revokedReason="SUPERSEDED")
            wire.ends[-1].close(code=4401)
            live.page.wait_for_timeout(300)
        route.fulfill(response=answer)

    live.page.route("**/graphql", hold)
    live.claim("foxglove")
    expect(live.title("You were signed out")).to_be_hidden()
    expect(live.page.locator("#live")).to_have_text("Live")
    assert live.token != old
    assert wire.received[-3]["payload"]["Authorization"] == f"Bearer {live.token}"
    live.page.unroute_all()


# The files.


@pytest.fixture
def files() -> Iterator[TestClient]:
    with TestClient(Starlette(routes=pages.sessions_routes())) as client:
        yield client


def test_all_that_the_page_loads_is_there(files: TestClient) -> None:
    shown = files.get("/").text
    loaded = re.findall(r'(?:src|href)="sessions-page/([^"]+\.js)"', shown)
    folder = Path(pages.__file__).parent / "sessions_page"
    assert sorted(loaded) == sorted(path.name for path in folder.glob("*.js"))  # and none later
    assert "<style" not in shown
    assert " style=" not in shown
    for path in folder.iterdir():
        status = files.get(f"/sessions-page/{path.name}").status_code
        assert status == (404 if path.suffix == ".html" else 200), path.name
    assert files.get("/sessions-page/favicon.svg").status_code == 200


@pytest.mark.parametrize("name", ["lean-qr.LICENSE", "boot.js", "", "..%2fpages.py", "%00"])
def test_nothing_else_of_the_page_can_be_had(files: TestClient, name: str) -> None:
    assert files.get(f"/sessions-page/{name}").status_code == 404


def test_the_page_can_be_switched_off(make_settings: Any) -> None:
    def paths(**changes: bool) -> set[str]:
        return {str(route) for route in create_app(make_settings(**changes)).routes}

    gone = paths() - paths(SESSIONS_PAGE=False)
    assert {word for text in gone for word in re.findall(r"path='([^']+)'", text)} == {
        "/",
        "/sessions-page/{file}",
    }


def test_no_script_writes_html_or_logs() -> None:
    """Trusted Types would refuse the one; the other is where a token would be read."""
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "console.",
        "eval(",
        "localStorage",
    )
    for path in Path(pages.__file__).parent.joinpath("sessions_page").glob("*.js"):
        text = path.read_text()
        assert [word for word in forbidden if word in text] == [], path.name
