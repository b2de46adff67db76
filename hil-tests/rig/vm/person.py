"""A person beside the device, with a phone: joins the device's own network, opens its pages, waits for what happens.

Owns what people do and look at; what the phone itself can is `phone`'s. The browser is the host's: whatever it asks for
goes through the phone's place to the device.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, Error, Page, sync_playwright

from ..browser import ARGUMENTS, CHROMIUM
from ..waiting import wait_for
from .stack import DeviceStack
from .wifi import DEVICE_ADDRESS, Neighbourhood

NARROW = {"width": 320, "height": 568}
LANGUAGE = "en-GB"
# An emulated device is slow: limits are for a hang, times are printed.
LIMIT_S = 300
PAGE_MS = 120_000
# A scan misses a network now and then, by a radio that is simulated on a busy machine more often.
LOOKS = 3


def say(text: str) -> None:
    """A figure of this run."""
    print(f"  {text}", flush=True)


@dataclass
class Person:
    """Somebody who sets the device up."""

    near: Neighbourhood

    # --- radio ------------------------------------------------------------------------------------------------------

    def begin(self, ssid: str, passphrase: str) -> None:
        """The device starts, near its owner's router and phone."""
        self.near.device.boot()
        self.near.begin()
        self.near.phone.leave()
        self.near.home.offer(ssid, passphrase)

    def label(self) -> tuple[str, str]:
        """Name and passphrase of the device's own network, as they are on its label."""
        made = wait_for(
            "the device has a network of its own",
            lambda: self.near.device.run("cat /identity/agent/access-point.json").output,
            LIMIT_S,
            every_s=1,
        )
        told = json.loads(made)
        return told["ssid"], told["passphrase"]

    def join(self) -> None:
        """The phone joins the device's network, as soon as it is there."""
        ssid, passphrase = self.label()
        self.near.phone.must_hear(ssid)
        self.near.phone.join(ssid, passphrase, limit_s=LIMIT_S)

    def back_on(self, what: str, lost: bool = True) -> None:
        """The device's own network is back after something failed, and the phone on it by itself; times are printed."""
        begun = time.monotonic()
        if lost:
            # The former network has to be gone before its return means anything.
            wait_for("the phone lost the network", lambda: not self.near.phone.is_joined(), LIMIT_S, every_s=0.5)
        wait_for("the phone is on the network again", self.near.phone.is_joined, LIMIT_S, every_s=0.5)
        took = time.monotonic() - begun
        away = f"the access point was away for {self._away_s():.0f} s; " if lost else ""
        say(f"{what}: {away}the phone was back on it after {took:.0f} s")

    def _away_s(self) -> float:
        """How long the access point was away the last time, by the agent's log."""
        times: dict[str, float] = {}
        for line in self.near.device.journal("-b -o short-monotonic -u strata-agent.service").splitlines():
            if told := re.search(r"\[ *([\d.]+)\].*access point .*is (up|taken down)", line):
                times[told[2]] = float(told[1])
        return times["up"] - times["taken down"]

    # --- pages ------------------------------------------------------------------------------------------------------

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        """The phone's browser."""
        to_device = f"--host-resolver-rules=MAP * 127.0.0.1:{self.near.phone.tunnel()}"
        with sync_playwright() as playwright:
            launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, to_device])
            yield launched
            launched.close()

    @contextmanager
    def mini_browser(self) -> Iterator[Page]:
        """The sheet that the phone opens: narrow, without JavaScript."""
        with self.browser() as browser:
            context = browser.new_context(viewport=NARROW, java_script_enabled=False, locale=LANGUAGE)
            yield context.new_page()
            context.close()

    def raw(self, request: str) -> str:
        """The answer to these bytes, from the phone's place."""
        with socket.create_connection(("127.0.0.1", self.near.phone.tunnel()), timeout=60) as connection:
            connection.sendall(request.encode())
            answer = b""
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        return answer.decode(errors="replace")

    def look_again(self, page: Page, ssid: str) -> None:
        """Have the device look for networks, for which its own goes away for a moment, until it lists this one."""
        for _ in range(LOOKS):
            open_page(page, "/wifi")
            page.get_by_role("button", name="Look again").click()
            self.back_on("look again")
            open_page(page, "/wifi")
            if page.get_by_role("link", name=ssid).count() > 0:
                return
            say(f"{ssid} was not heard")
        raise AssertionError(f"{ssid} was not heard in {LOOKS} scans")


def open_page(page: Page, path: str) -> None:
    """Open one of the device's pages; one that loads itself again at that moment gets in between."""

    def opened() -> bool:
        try:
            page.goto(f"http://{DEVICE_ADDRESS}{path}", timeout=PAGE_MS)
        except Error as error:
            if "interrupted by another navigation" not in error.message:
                raise
            return False
        return True

    wait_for(f"the page {path} is opened", opened, LIMIT_S)


def choose(page: Page, ssid: str, passphrase: str) -> None:
    """Have the device join a network."""
    open_page(page, "/wifi")
    page.get_by_role("link", name=ssid).click()
    page.get_by_label("Passphrase").fill(passphrase)
    page.get_by_role("button").click()


def enrol(page: Page, relay: DeviceStack, token: str, address: str = "") -> None:
    """Give the device its token, and the relay's address or another one."""
    open_page(page, "/relay")
    page.get_by_label("Address of the relay").fill(address or relay.relay_url)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button").click()


def trouble(page: Page) -> str:
    """What the first page says went wrong."""
    open_page(page, "/")
    return page.get_by_role("alert").inner_text()
