"""A person's way in headless Chromium: log in, add a device, go live, watch, stop, read why it ended.

`pytest hil-tests -k browser --pictures` also puts the README's pictures into docs/images/.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from conftest import end, fresh_folder
from rig.browser import ARGUMENTS, CHROMIUM
from rig.stack import ROOT, Stack, enrolment_link
from rig.waiting import wait_for

SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}
LIMIT_MS = 30_000


@pytest.fixture(scope="module")
def results() -> Path:
    """Where the screenshots go."""
    return fresh_folder("test_browser")


@pytest.fixture(scope="module")
def stack(results: Path) -> Iterator[Stack]:
    """A relay; its device waits for the person to enrol it."""
    made = Stack(results / "stack")
    try:
        made.start_without_device()
        yield made
    finally:
        end(made)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"{CHROMIUM} is not there: ./dev setup")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


class Person:
    """Someone before a browser: looks at pages, and complains of what nobody should meet."""

    def __init__(self, browser: Browser, base: str, size: str, results: Path) -> None:
        self.size = size
        self._results = results
        self._context = browser.new_context(viewport=SIZES[size], base_url=base, device_scale_factor=1)
        self._context.set_default_timeout(LIMIT_MS)
        self.page: Page = self._context.new_page()
        self.errors: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"console: {message.text}")

    def _failed(self, request) -> None:
        # Leaving a page ends what it still loads.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.errors.append(f"request: {request.url}: {request.failure}")

    def looks(self, name: str) -> None:
        """A screenshot, and no scrolling sideways."""
        self.page.screenshot(path=self._results / f"{name}-{self.size}.png", full_page=True)
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} at {self.size}: {wide} px too wide"

    def log_in(self, email: str, password: str) -> None:
        """By the form."""
        self.page.goto("/login")
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.looks("login")
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/")

    def close(self) -> None:
        """Close the window; nothing may have gone wrong in it."""
        self._context.close()
        assert self.errors == []


@pytest.fixture
def person(browser: Browser, stack: Stack, results: Path) -> Iterator[Callable[[str], Person]]:
    """Somebody who is logged in, at a size."""
    people: list[Person] = []

    def arrive(size: str) -> Person:
        people.append(Person(browser, stack.api.base, size, results))
        people[-1].log_in(stack.email, stack.password)
        return people[-1]

    yield arrive
    for each in people:
        each.close()


def picture_moves(page: Page) -> bool:
    """Whether two looks at the video element differ, and differ from black."""
    video = page.locator("video")
    first = video.screenshot(timeout=LIMIT_MS)
    wait_for("another moment of the video", lambda: advanced(page), 15)
    return first != video.screenshot(timeout=LIMIT_MS)


def advanced(page: Page) -> bool:
    """Whether the video's time went on by half a second since it was asked the last time."""
    return page.evaluate(
        "() => { const v = document.querySelector('video'); const last = v._seen ?? v.currentTime; v._seen = last;"
        " if (v.currentTime - last < 0.5) return false; v._seen = v.currentTime; return true; }"
    )


def test_a_wrong_password_is_told_and_lets_nobody_in(browser: Browser, stack: Stack, results: Path):
    stranger = Person(browser, stack.api.base, "phone", results)
    stranger.page.goto("/login")
    stranger.page.get_by_label("E-mail address").fill(stack.email)
    stranger.page.get_by_label("Password").fill("not this one")
    stranger.page.get_by_role("button", name="Log in").click()
    expect(stranger.page.get_by_role("alert")).to_be_visible(timeout=LIMIT_MS)
    stranger.looks("wrong-password")
    stranger.errors.clear()  # Chromium calls every answer of 401 an error.
    stranger.close()


def test_the_whole_way(person: Callable[[str], Person], stack: Stack, results: Path, request: pytest.FixtureRequest):
    someone = person("wide")
    page = someone.page
    add_device(someone, stack)
    go_live(someone)
    watch(someone)
    pictures = request.config.getoption("--pictures")
    if pictures:
        # By then the plots have something to show.
        expect(page.locator("main")).to_contain_text("On air for 1 min", timeout=120_000)
        someone.looks("stream")
    for name, path in (("fleet", "/"), ("device", f"/devices/{stack.device_id}"), ("streams", "/streams")):
        other = person("phone")
        other.page.goto(path)
        other.looks(name)
        page.goto(path)
        someone.looks(name)
        page.go_back()
    phone = person("phone")
    phone.page.goto(page.url)
    expect(phone.page.locator("#stream-links tbody tr")).to_have_count(3, timeout=LIMIT_MS)
    wait_for("the picture on the phone", lambda: picture_moves(phone.page), 40)
    phone.looks("stream")
    player = person("phone")
    player.page.goto(page.locator("[data-hls]").get_attribute("data-hls").replace("/hls/", "/play/").rsplit("/", 1)[0])
    wait_for("the picture on the player page", lambda: picture_moves(player.page), 40)
    player.looks("player")
    stop(someone)
    phone.looks("stream-ended")
    if pictures:
        images = ROOT / "docs" / "images"
        images.mkdir(parents=True, exist_ok=True)
        for name in ("stream-wide", "fleet-wide", "go-live-wide"):
            shutil.copyfile(results / f"{name}.png", images / f"{name.removesuffix('-wide')}.png")


def add_device(someone: Person, stack: Stack) -> None:
    """Add a device by the form; its agent gets the token as a technician would hand it over."""
    page = someone.page
    someone.looks("empty-fleet")
    page.get_by_role("link", name="Add a device").first.click()
    page.get_by_label("Name").fill("Van 2")
    someone.looks("device-new")
    page.get_by_role("button", name="Make an enrolment token").click()
    token = page.locator("#token").inner_text().strip()
    someone.looks("token")
    picture = stack.folder / "code.png"
    page.locator(".qr").screenshot(path=picture)
    read = subprocess.run(
        ["zbarimg", "--quiet", "--raw", picture], check=True, capture_output=True, text=True, timeout=30
    )
    assert read.stdout.strip() == enrolment_link(f"ws://{stack.api.host}:{stack.port}", token), "what a phone reads"
    page.get_by_role("link", name="To the device’s page").click()
    page.wait_for_url("**/devices/*")
    stack.device_id = page.url.rsplit("/", 1)[1]
    command = [str(stack.programs / "strata-agent"), "--config", str(stack.device / "strata-agent.toml"), "enrol"]
    stack.write_agent_config()
    stack.agent.start()
    subprocess.run(command, input=token, text=True, check=True, capture_output=True, timeout=30)
    expect(page.locator(".badges").first).to_contain_text("online", ignore_case=True, timeout=LIMIT_MS)
    wait_for("the device's inputs", lambda: (stack.status() or {}).get("media_inputs"), 30)


def go_live(someone: Person) -> None:
    """By the form; the source is a choice that must be made."""
    page = someone.page
    page.reload()
    page.get_by_role("link", name="Go live").first.click()
    expect(page.locator("input[name=source]:checked")).to_have_count(0)
    page.get_by_role("button", name="Go live").click()
    assert page.url.endswith("/live"), "the form was sent without a source"
    page.locator("label.choice", has_text="amera").first.click()
    someone.looks("go-live")
    page.get_by_role("button", name="Go live").click()
    page.wait_for_url("**/streams/*")


def watch(someone: Person) -> None:
    """The picture moves, and each link's numbers are there."""
    page = someone.page
    wait_for("the picture", lambda: picture_moves(page), 60)
    rows = page.locator("#stream-links tbody tr")
    expect(rows).to_have_count(3, timeout=LIMIT_MS)
    for number in range(3):
        expect(rows.nth(number).locator("[data-label=Bitrate]")).to_contain_text("bit/s", timeout=LIMIT_MS)
    before = rows.first.locator("[data-label=Sent]").inner_text()
    expect(rows.first.locator("[data-label=Sent]")).not_to_have_text(before, timeout=LIMIT_MS)
    someone.looks("stream")


def stop(someone: Person) -> None:
    """Stop by the button and read who did it."""
    page = someone.page
    page.get_by_role("button", name="Stop the stream").click()
    expect(page.locator(".badges").first).to_contain_text("ended", ignore_case=True, timeout=LIMIT_MS)
    expect(page.locator("main")).to_contain_text("stopped by", ignore_case=True)
    someone.looks("stream-ended")
