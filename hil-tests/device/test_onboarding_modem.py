"""A modem and its SIM on the device's pages: the PIN, and that nobody's SIM is locked by the device; the access point.

Real are the pages in a phone's browser, ModemManager, NetworkManager and the kernel's serial driver; the modem at the
other end of the serial line is made up (`rig.vm.modem`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from rig.vm.device import Device
from rig.vm.modem import OPERATOR, TRIES, UDEV_RULE, Modem, SimCard
from rig.vm.person import LIMIT_S, Person
from rig.vm.wifi import DEVICE_ADDRESS, Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

PAGE = f"http://{DEVICE_ADDRESS}/modems"
WRONG, RIGHT = "0000", SimCard().pin
LAST = "One more wrong PIN could lock the SIM card"
LIMIT_MS = LIMIT_S * 1000


@pytest.fixture(scope="module")
def near(person: Person) -> Neighbourhood:
    """A new device, booted, with a phone on its own network and a place for a modem."""
    near = person.near
    near.device.machine.usb = True
    near.device.boot()
    near.begin()
    near.phone.leave()
    person.join()
    near.device.check("mkdir -p /run/udev/rules.d")
    near.device.write("/run/udev/rules.d/70-hil-modem.rules", UDEV_RULE)
    near.device.check("udevadm control --reload")
    return near


@pytest.fixture(scope="module")
def modem(near: Neighbourhood, folder: Path) -> Modem:
    """The modem, not yet plugged in."""
    made = Modem(folder / "modem.log")
    made.attach(near.device.machine.serial)
    return made


@pytest.fixture(scope="module")
def page(person: Person, near: Neighbourhood) -> Iterator[Page]:
    """The phone's browser."""
    with person.mini_browser() as made:
        yield made


def modems(device: Device) -> str:
    """ModemManager's list."""
    return device.run("mmcli -L").output


def plug(near: Neighbourhood, modem: Modem, sim: SimCard | None, tells_tries: bool = True) -> None:
    """The modem with this SIM, from now on; until ModemManager and the agent know it."""
    before = modems(near.device)
    if "/Modem/" in before:
        near.device.machine.unplug_serial()
        wait_for("the modem is gone", lambda: "/Modem/" not in modems(near.device), LIMIT_S, every_s=1)
    modem.sim, modem.tells_tries = sim, tells_tries
    modem.pins.clear()
    near.device.machine.plug_serial()
    wait_for("ModemManager has the modem", lambda: "/Modem/" in modems(near.device), LIMIT_S, every_s=1)


def look(page: Page) -> str:
    """What the page of the modems says now."""
    page.goto(PAGE, timeout=LIMIT_MS)
    return page.locator("main").inner_text()


def wait_told(page: Page, text: str) -> None:
    """Until the page says this; people load it again."""
    wait_for(f"the page says {text!r}", lambda: text in look(page), LIMIT_S, every_s=1)


def send(page: Page, field: str, text: str, button: str) -> str:
    """Type something and send it; what the page says once that is done."""
    page.get_by_label(field).fill(text)
    with page.expect_navigation(timeout=LIMIT_MS):
        page.get_by_role("button", name=button).click()
    wait_for("the modem is not busy", lambda: "passes this on" not in look(page), LIMIT_S, every_s=1)
    return page.locator("main").inner_text()


def unlock(page: Page, pin: str) -> str:
    """Send a PIN; what the page says of it."""
    return send(page, "PIN", pin, "Unlock")


def test_a_locked_sim_is_told_with_the_tries_that_are_left(near: Neighbourhood, modem: Modem, page: Page, folder: Path):
    plug(near, modem, SimCard())
    wait_told(page, "The SIM card asks for its PIN.")
    assert f"tries left: {TRIES}" in look(page)
    page.screenshot(path=folder / "locked.png", full_page=True)
    page.goto(f"http://{DEVICE_ADDRESS}/", timeout=LIMIT_MS)
    expect(page.get_by_role("link", name="Modems")).to_be_visible()


def times_raised(device: Device) -> int:
    """How often the access point came up since the start."""
    return len(re.findall("access point .* is up", device.journal("-b -u strata-agent.service")))


def test_the_device_never_tries_a_pin_by_itself(near: Neighbourhood, modem: Modem, page: Page):
    # With a reason to be online, too.
    near.device.check("nmcli connection add type gsm con-name reason ifname '*' apn internet.example")
    raised = times_raised(near.device)
    near.device.check("systemctl restart ModemManager.service strata-agent.service", LIMIT_S)
    wait_for("the access point is up again", lambda: times_raised(near.device) > raised, LIMIT_S, every_s=1)
    wait_for("the phone is on the network again", near.phone.is_joined, LIMIT_S, every_s=1)
    wait_told(page, "The SIM card asks for its PIN.")
    near.device.check("nmcli connection delete reason")
    assert modem.pins == []


def test_of_three_tries_the_device_uses_two(near: Neighbourhood, modem: Modem, page: Page, folder: Path):
    look(page)
    said = unlock(page, WRONG)
    page.screenshot(path=folder / "wrong.png", full_page=True)
    assert "This PIN was wrong." in said and "tries left: 2" in said, said
    assert modem.pins == [WRONG]
    # Somebody else has the page open, too.
    old = page.context.new_page()
    look(old)
    said = unlock(page, "00000000")
    page.screenshot(path=folder / "last.png", full_page=True)
    assert LAST in said and "Unlock" not in said, said
    assert LAST in unlock(old, WRONG)
    old.close()
    assert (modem.pins, modem.sim.tries) == ([WRONG, "00000000"], 1)


def test_the_right_pin_opens_it(near: Neighbourhood, modem: Modem, page: Page, folder: Path):
    plug(near, modem, SimCard(number=3))
    wait_told(page, "The SIM card asks for its PIN.")
    unlock(page, RIGHT)
    wait_told(page, f"{OPERATOR} · 4G · Signal 67 %")
    page.screenshot(path=folder / "open.png", full_page=True)
    assert "PIN" not in page.locator("main").inner_text()
    assert modem.pins == [RIGHT]


def test_an_access_point_is_missing_until_it_is_set(near: Neighbourhood, page: Page, folder: Path):
    wait_told(page, "The modem needs the name of the operator’s access point (APN).")
    page.screenshot(path=folder / "no-apn.png", full_page=True)
    assert "The modem needs" not in send(page, "APN", "internet.example", "Save")
    expect(page.get_by_label("APN")).to_have_value("internet.example")
    told = near.device.check("nmcli -g gsm.apn,connection.type connection show 'mobile ttyUSB0'")
    assert told.split() == ["internet.example", "gsm"]


def test_where_the_tries_are_not_known_the_device_uses_two_as_well(near: Neighbourhood, modem: Modem, page: Page):
    plug(near, modem, SimCard(number=4), tells_tries=False)
    wait_told(page, "The SIM card asks for its PIN.")
    assert "tries left" not in look(page)
    for _ in range(2):
        assert "This PIN was wrong." in unlock(page, WRONG)
    assert LAST in unlock(page, WRONG)
    assert (modem.pins, modem.sim.tries) == ([WRONG] * 2, 1)
    # The SIM remembers, and so does the device.
    plug(near, modem, modem.sim, tells_tries=False)
    wait_told(page, "The SIM card asks for its PIN.")
    assert LAST in unlock(page, WRONG)
    assert modem.pins == []


SIMS = {
    "puk": (SimCard(tries=0), "Unlock it in a phone with its PUK."),
    "missing": (None, "There is no SIM card in the modem"),
}


@pytest.mark.parametrize("what", SIMS)
def test_a_sim_that_the_device_can_not_open_is_told(
    near: Neighbourhood, modem: Modem, page: Page, folder: Path, what: str
):
    sim, told = SIMS[what]
    plug(near, modem, sim)
    wait_told(page, told)
    page.screenshot(path=folder / f"{what}.png", full_page=True)
    expect(page.get_by_role("button", name="Unlock")).to_have_count(0)
    assert modem.pins == []
