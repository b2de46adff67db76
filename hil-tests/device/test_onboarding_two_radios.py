"""From box to online with two radios: the device's own network stays while the other radio joins one."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from rig.vm.person import LIMIT_S, PAGE_MS, Person, choose, enrol, open_page, trouble
from rig.vm.stack import DeviceStack
from rig.vm.wifi import DEVICE_ADDRESS
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

RADIOS = 2
HOME, PASSPHRASE = "Lighthouse 3", "correct horse battery"
# A name is any 32 bytes (IEEE 802.11, 9.4.2.2): these are no text, end strings, and colour a terminal.
BYTES = b"\x00\xff\xfe\r\n\x1b[31m%s;$(id)<b>&\"'\xe2\x98\x80\x7f\\/.."


@pytest.fixture(scope="module", autouse=True)
def begun(person: Person) -> None:
    """A new device, the phone on its own network."""
    person.begin(HOME, PASSPHRASE)
    person.join()


def stays_up(person: Person) -> bool:
    """Whether the access point was never taken down; the phone itself may lose it for a moment, as radios do."""
    said = person.near.device.journal("-b -u strata-agent.service")
    return "is up on" in said and "taken down" not in said and "went down" not in said


def find(page: Page, ssid: bytes) -> Locator:
    """Look again until a network is listed; its link."""
    link = page.locator(f"a[href$='name={ssid.hex()}']")

    def heard() -> bool:
        open_page(page, "/wifi")
        if link.count() == 0:
            page.get_by_role("button", name="Look again").click()
            open_page(page, "/wifi")
        return link.count() > 0

    # The pages take ten forms at once, then one in six seconds.
    wait_for("the network is listed", heard, LIMIT_S, every_s=8)
    return link


def test_looking_again_keeps_the_phone(person: Person, page: Page):
    find(page, HOME.encode())
    assert stays_up(person)


def test_a_wrong_passphrase_is_told_while_the_phone_stays(person: Person, page: Page):
    find(page, HOME.encode())
    choose(page, HOME, "wrong horse battery")

    def told() -> bool:
        open_page(page, "/")
        return page.get_by_role("alert").count() > 0

    wait_for("the page tells", told, LIMIT_S, every_s=1)
    assert "passphrase was not accepted" in trouble(page).lower()
    assert stays_up(person)


def test_a_name_that_is_no_text_is_joined(person: Person, page: Page, folder: Path):
    person.near.home.offer(BYTES.decode(errors="surrogateescape"), PASSPHRASE)
    link = find(page, BYTES)
    page.screenshot(path=folder / "bytes.png", full_page=True)
    link.click()
    page.get_by_label("Passphrase").fill(PASSPHRASE)
    page.get_by_role("button").click()
    expect(page.get_by_text("The internet is reached")).to_be_visible(timeout=PAGE_MS)
    assert person.near.home.stations() != []


def test_a_network_that_hides_its_name_is_joined_by_typing_it(person: Person, page: Page, folder: Path):
    person.near.home.offer(HOME, PASSPHRASE, hidden=True)
    open_page(page, "/wifi")
    page.get_by_role("link", name="A network that is not in the list").click()
    page.get_by_label("Name of the network").fill(HOME)
    page.get_by_label("Passphrase").fill(PASSPHRASE)
    page.get_by_role("button").click()
    wait_for("the device is on it", person.near.home.stations, LIMIT_S, every_s=1)
    expect(page.get_by_text("The internet is reached")).to_be_visible(timeout=PAGE_MS)
    open_page(page, "/wifi")
    page.screenshot(path=folder / "hidden.png", full_page=True)
    names = page.locator(".networks .name").all_inner_texts()
    assert all(name.strip() for name in names), names


def test_nothing_is_open_to_the_network_that_it_joined(person: Person):
    # Its own network is up meanwhile, with the pages on it.
    assert person.near.phone.is_joined()
    address = person.near.device.lines("ip -4 -o address | sed -n 's/.* inet \\(192.168.77[.0-9]*\\).*/\\1/p'")[0]
    home = person.near.home.place
    home.check(f"ip route replace {DEVICE_ADDRESS} via {address}")
    for target in (address, DEVICE_ADDRESS):
        ports = home.ports(target, [22, 53, 80, 443, 8080, 9090])
        assert "open" not in ports.values(), f"{target}: {ports}"
    home.check(f"ip route del {DEVICE_ADDRESS}")
    person.near.home.offer(HOME, PASSPHRASE)


def test_the_phone_sees_it_work(person: Person, relay: DeviceStack, page: Page):
    find(page, HOME.encode())
    choose(page, HOME, PASSPHRASE)
    expect(page.get_by_text("The internet is reached")).to_be_visible(timeout=PAGE_MS)
    assert stays_up(person)
    enrol(page, relay, relay.new_token())
    relay.wait_online(LIMIT_S)
    wait_for("the access point is down", lambda: not person.near.phone.is_joined(), LIMIT_S, every_s=1)
