"""A person's way to the relay when it is not smooth: what is wrong with token, relay and clock is told.

The network is fine meanwhile, and is kept; it outlives a wrong passphrase, too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from rig.vm.person import LIMIT_S, Person, choose, enrol, trouble
from rig.vm.stack import DeviceStack
from rig.vm.wifi import Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

HOME, PASSPHRASE = "Lighthouse 3", "correct horse battery"
# Before the relay's certificate was made.
LONG_AGO = "2020-01-01 00:00:00"


@pytest.fixture(scope="module", autouse=True)
def begun(person: Person) -> None:
    """A new device, the phone on its own network, its page about Wi-Fi up to date."""
    person.begin(HOME, PASSPHRASE)
    person.join()
    with person.mini_browser() as page:
        person.look_again(page, HOME)


def known(person: Person) -> list[str]:
    """The networks that the device joins by itself."""
    return person.near.device.lines(
        "nmcli -t -f NAME,TYPE connection show | grep wireless | grep -v strata-access-point"
    )


def test_a_token_that_the_relay_does_not_know_is_told(person: Person, relay: DeviceStack, page: Page, folder: Path):
    enrol(page, relay, "of-another-relay")
    choose(page, HOME, PASSPHRASE)
    person.back_on("unknown token")
    assert "does not know this token" in trouble(page)
    page.screenshot(path=folder / "unknown-token.png", full_page=True)
    assert len(known(person)) == 1, "a network that leads to the relay is kept"
    expect(page.get_by_text("This network works")).to_be_visible()


def superseded(relay: DeviceStack) -> str:
    """A token that ran out, as its device was given another one."""
    old = relay.new_token()
    relay.new_token()
    return old


@dataclass(frozen=True)
class Fault:
    """What can be wrong on the way to the relay, and how it is told."""

    told: str
    token: Callable[[DeviceStack], str] = DeviceStack.new_token
    address: str = ""
    begin: Callable[[Neighbourhood], object] = lambda near: None
    end: Callable[[Neighbourhood], object] = lambda near: None


FAULTS = {
    "expired token": Fault("expired", superseded),
    "used token": Fault("used already", DeviceStack.used_token),
    "unknown name": Fault("does not find the relay’s name", address="wss://relay.nowhere.example"),
    "relay is a black hole": Fault(
        "does not answer",
        begin=lambda near: near.home.route(only_pages=True),
        end=lambda near: near.home.route(),
    ),
    "clock is wrong": Fault(
        "clock",
        begin=lambda near: near.device.check(f"date -s '{LONG_AGO}'"),
        end=lambda near: near.device.check(f"date -s @{time.time():.0f}"),
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_wrong_on_the_way_to_the_relay_is_told(
    person: Person, relay: DeviceStack, page: Page, folder: Path, what: str
):
    fault = FAULTS[what]
    fault.begin(person.near)
    try:
        # The network that worked a moment ago is used at once.
        enrol(page, relay, fault.token(relay), fault.address)
        person.back_on(what)
    finally:
        fault.end(person.near)
    told = trouble(page)
    page.screenshot(path=folder / f"{what.replace(' ', '-')}.png", full_page=True)
    assert fault.told in told, told
    assert len(known(person)) == 1


def test_a_wrong_passphrase_takes_nothing_from_a_network_that_works(
    person: Person, relay: DeviceStack, page: Page, folder: Path
):
    before = known(person)
    choose(page, HOME, "wrong horse battery")
    person.back_on("wrong passphrase for a known network")
    assert "passphrase was not accepted" in trouble(page).lower()
    assert known(person) == before
    enrol(page, relay, relay.new_token())
    relay.wait_online(LIMIT_S)


def test_it_comes_back_by_itself_after_a_power_cut(person: Person, relay: DeviceStack):
    person.near.device.cut()
    wait_for("the relay lost it", lambda: not relay.is_online(), LIMIT_S, every_s=1)
    person.begin(HOME, PASSPHRASE)
    relay.wait_online(LIMIT_S)
