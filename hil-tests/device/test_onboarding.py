"""From box to online: a person with a phone, the device's own network, its pages, a home router and a relay.

Everything is real but the radio waves: NetworkManager, wpa_supplicant, dnsmasq, the kernel's mac80211 on simulated
radios, the relay, Chromium. The phone is a network namespace of the device's machine with a radio of its own.
"""

import json
import os
import random
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from rig.stack import ROOT
from rig.vm.person import LANGUAGE, LIMIT_S, NARROW, Person, choose, enrol, open_page, say, trouble
from rig.vm.stack import DeviceStack
from rig.vm.wifi import DEVICE_ADDRESS, Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

# A name as a joker would choose it; 32 bytes are the most.
HOME, PASSPHRASE = "<script>alert(1)</script> ☕", "correct horse battery"
AXE = ROOT / "web" / "strata-web" / "node_modules" / "axe-core" / "axe.min.js"
PORTAL_API = f"http://{DEVICE_ADDRESS}/captive-portal/api"

# What each system asks, as it asks it (method and path, then headers in its order).
PROBES = {
    "iOS": (
        "GET /hotspot-detect.html HTTP/1.0\r\nHost: captive.apple.com\r\nConnection: close\r\n"
        "User-Agent: CaptiveNetworkSupport-481.60.2 wispr\r\n\r\n"
    ),
    "Android": (
        "GET /generate_204 HTTP/1.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/60.0.3112.32 Safari/537.36\r\nHost: connectivitycheck.gstatic.com\r\n"
        "Connection: Keep-Alive\r\nAccept-Encoding: gzip\r\n\r\n"
    ),
    "Windows": (
        "GET /connecttest.txt HTTP/1.1\r\nConnection: Close\r\nUser-Agent: Microsoft NCSI\r\n"
        "Host: www.msftconnecttest.com\r\n\r\n"
    ),
    "Firefox": (
        "GET /success.txt?ipv4 HTTP/1.1\r\nHost: detectportal.firefox.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux "
        "x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: */*\r\nAccept-Language: en-US,en;q=0.5\r\n"
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nPragma: no-cache\r\n"
        "Cache-Control: no-cache\r\n\r\n"
    ),
    "ChromeOS": "GET /gen_204 HTTP/1.1\r\nHost: www.google.com\r\nConnection: close\r\n\r\n",
    "NetworkManager": (
        "GET /check_network_status.txt HTTP/1.1\r\nHost: nmcheck.gnome.org\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ),
    "KDE": "GET / HTTP/1.1\r\nHost: networkcheck.kde.org\r\nConnection: close\r\nUser-Agent: Mozilla/5.0\r\n\r\n",
    "Samsung": (
        "GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.samsung.com\r\nConnection: close\r\n"
        "User-Agent: Dalvik/2.1.0 (Linux; U; Android 14)\r\n\r\n"
    ),
    "Huawei": (
        "GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.platform.hicloud.com\r\nConnection: close\r\n\r\n"
    ),
    "Xiaomi": "GET /generate_204 HTTP/1.1\r\nHost: connect.rom.miui.com\r\nConnection: close\r\n\r\n",
}


@pytest.fixture(scope="module", autouse=True)
def begun(person: Person) -> None:
    """A new device."""
    person.begin(HOME, PASSPHRASE)


@pytest.fixture
def browser(person: Person) -> Iterator[Browser]:
    """The phone's browser, anew for each test: a device that starts again has another way to it."""
    with person.browser() as made:
        yield made


def test_a_new_device_is_a_network_that_a_phone_joins(person: Person):
    begun = time.monotonic()
    person.join()
    lease = person.near.phone.lease()
    said = person.near.device.journal("-b -o short-monotonic -u strata-agent.service")
    up = re.search(r"\[ *([\d.]+)\].*access point .* is up", said)
    assert up, said
    say(f"access point up {up[1]} s after the kernel began; the phone joined in {time.monotonic() - begun:.0f} s")
    assert lease.address.startswith("10.42.0.")
    assert (lease.dns, lease.captive_portal) == ([DEVICE_ADDRESS], PORTAL_API)


def test_the_first_page_says_what_to_do(person: Person, page: Page, folder: Path):
    page.goto("http://captive.apple.com/hotspot-detect.html", timeout=120_000)
    expect(page).to_have_url(f"http://{DEVICE_ADDRESS}/")
    page.screenshot(path=folder / "start.png", full_page=True)


def test_looking_again_shows_a_network_that_came_later(person: Person, page: Page, folder: Path):
    person.look_again(page, HOME)
    open_page(page, "/wifi")
    expect(page.get_by_role("link", name=HOME)).to_be_visible()
    page.screenshot(path=folder / "networks.png", full_page=True)


def test_nobody_is_shut_out(person: Person, browser: Browser):
    context = browser.new_context(viewport=NARROW, locale=LANGUAGE)
    page = context.new_page()
    name = HOME.encode().hex()
    try:
        for path in ("/", "/wifi", f"/wifi/join?name={name}", "/wifi/join", "/relay", "/modems"):
            open_page(page, path)
            page.evaluate(AXE.read_text())
            found = page.evaluate("axe.run()")["violations"]
            assert found == [], f"{path}: {[(one['id'], [node['html'] for node in one['nodes']]) for one in found]}"
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], f"{path} is too wide"
        open_page(page, "/relay")
        reached = []
        for _ in range(4):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent"))
        assert reached == ["relay", "enrolment", "Connect to the relay", "Back"], "the order of the keyboard"
    finally:
        context.close()


# Who answers for names there, with the process's number.
SERVED = f"ss -Hltnp src {DEVICE_ADDRESS}:53"
ACCIDENTS = {
    "taken down by somebody else": "nmcli connection down strata-access-point",
    "agent killed": "systemctl kill --signal=KILL strata-agent.service",
    "wpa_supplicant killed": "systemctl kill --signal=KILL wpa_supplicant.service",
    "NetworkManager killed": "systemctl kill --signal=KILL NetworkManager.service",
}


@pytest.mark.parametrize("what", ACCIDENTS)
def test_the_access_point_comes_back(person: Person, what: str):
    before = person.near.device.check(SERVED)
    person.near.device.check(ACCIDENTS[what])
    # Each access point has a dnsmasq of its own, which the pages' answer needs, too.
    wait_for("the access point is another one", lambda: raised_again(person, before), LIMIT_S, every_s=1)
    person.back_on(what, lost=False)
    assert person.raw(PROBES["Android"]).split()[1] == "302"


def raised_again(person: Person, before: str) -> bool:
    """Whether names are answered by another process than before."""
    now = person.near.device.check(SERVED)
    return bool(now.strip()) and now != before


def test_every_name_is_the_device(person: Person):
    assert person.near.phone.resolve("relay.example.net") == [DEVICE_ADDRESS]
    assert person.near.phone.resolve("captive.apple.com", "8.8.8.8") == [DEVICE_ADDRESS], "a resolver that is built in"
    answer = person.near.phone.ask("relay.example.net", kind="AAAA")
    assert answer and answer.addresses == [], "nobody waits for an address of IPv6"


@pytest.mark.parametrize("system", PROBES)
def test_each_system_opens_the_sheet(person: Person, system: str):
    answer = person.raw(PROBES[system])
    assert answer.split()[1] == "302", answer
    assert f"location: http://{DEVICE_ADDRESS}/" in answer.lower(), answer


def test_nothing_else_of_the_device_is_reached(person: Person):
    ports = person.near.phone.place.ports(DEVICE_ADDRESS, [22, 53, 80, 443, 8080])
    assert ports == {22: "refused", 53: "open", 80: "open", 443: "refused", 8080: "refused"}
    assert person.near.phone.place.ports("192.168.77.1", [80])[80] == "open", "caught: every page is the device's"
    assert person.near.phone.place.ports("192.168.77.1", [443])[443] == "refused", "no way through the device"


@dataclass(frozen=True)
class Fault:
    """What can be wrong with a network, and how it is told."""

    passphrase: str
    told: str
    begin: Callable[[Neighbourhood], None] = lambda near: None
    end: Callable[[Neighbourhood], None] = lambda near: None


FAULTS = {
    "wrong passphrase": Fault("wrong horse battery", "passphrase was not accepted"),
    "no DHCP": Fault(
        PASSPHRASE,
        "gave it no address",
        lambda near: near.home.serve(dhcp=False),
        lambda near: near.home.serve(),
    ),
    "leads nowhere": Fault(
        PASSPHRASE,
        "does not lead to the internet",
        lambda near: near.home.route(internet=False),
        lambda near: near.home.route(),
    ),
    "hotel": Fault(
        PASSPHRASE, "wants a login", lambda near: near.home.route(hotel=True), lambda near: near.home.route()
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_wrong_with_a_network_is_told_and_strands_nobody(person: Person, page: Page, folder: Path, what: str):
    fault = FAULTS[what]
    fault.begin(person.near)
    try:
        choose(page, HOME, fault.passphrase)
        expect(page.get_by_role("status")).to_contain_text("connects")
        person.back_on(what)
    finally:
        fault.end(person.near)
    told = trouble(page)
    page.screenshot(path=folder / f"{what.replace(' ', '-')}.png", full_page=True)
    assert HOME in told and re.search(fault.told, told, re.IGNORECASE), told
    assert HOME not in person.near.device.check("nmcli -t -f NAME connection show")


FLOODERS, FLOOD_S, AT_ONCE = 8, 10.0, 50


def agent_kb(person: Person) -> tuple[str, int]:
    """The agent's process, and how much memory it has."""
    pid = person.near.device.check("systemctl show -p MainPID --value strata-agent.service").strip()
    return pid, int(person.near.device.check(f"awk '/^VmRSS/ {{print $2}}' /proc/{pid}/status"))


def flood(port: int, until: float) -> int:
    """Ask for pages, many at once and again at once, as nothing that is well does; how many requests were sent."""
    sent, requests = 0, f"GET /wifi HTTP/1.1\r\nHost: {DEVICE_ADDRESS}\r\n\r\n".encode() * AT_ONCE
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(requests)
                sent += AT_ONCE
                while connection.recv(65536):
                    pass
        except OSError:
            # It is what the device may do to somebody like that.
            continue
    return sent


def test_a_flood_of_requests_by_radio_changes_nothing(person: Person):
    pid, before = agent_kb(person)
    port, until = person.near.phone.tunnel(), time.monotonic() + FLOOD_S
    with ThreadPoolExecutor(FLOODERS) as pool:
        sent = sum(pool.map(lambda _: flood(port, until), range(FLOODERS)))
    after = agent_kb(person)
    say(f"{sent / FLOOD_S:.0f} requests a second; the agent has {before} kB before, {after[1]} kB after")
    # As fast as the device takes them: about 80 a second where it is emulated.
    assert sent >= AT_ONCE, "a flood"
    assert after[0] == pid and after[1] <= before + 8192
    assert person.near.phone.is_joined()
    wait_for(
        "the pages are there again", lambda: person.raw(PROBES["Android"]).split()[1:2] == ["302"], LIMIT_S, every_s=1
    )


# --- power cuts -------------------------------------------------------------------------------------------------------

SEED = int(os.environ.get("STRATA_SEED", random.randrange(1 << 32)))
GIVEN = "abcd-efgh-jkmn-pqrs"


def looks_around(person: Person, page: Page, relay: DeviceStack) -> None:
    """Its radio is about to look for networks."""
    open_page(page, "/wifi")
    page.get_by_role("button", name="Look again").click()


def gives_token(person: Person, page: Page, relay: DeviceStack) -> None:
    """A token was just taken."""
    enrol(page, relay, GIVEN)


def chooses(person: Person, page: Page, relay: DeviceStack) -> None:
    """A network was just chosen."""
    choose(page, HOME, PASSPHRASE)


def tries(person: Person, page: Page, relay: DeviceStack) -> None:
    """A network is joined, and not yet kept; or just so."""
    choose(page, HOME, PASSPHRASE)
    agent = "-b -o cat -u strata-agent.service"
    wait_for("it joined", lambda: f"joined “{HOME}”" in person.near.device.journal(agent), LIMIT_S)


CUTS = {
    "pages are open": lambda person, page, relay: open_page(page, "/wifi"),
    "networks are looked for": looks_around,
    "a token was given": gives_token,
    "a network was chosen": chooses,
    "a network is tried": tries,
}


# One of them by chance, as a start takes an emulated device a minute; STRATA_VM_CUTS=100 has all.
CUTS_OF_A_RUN = min(int(os.environ.get("STRATA_VM_CUTS", "1")), len(CUTS))


def kept(person: Person) -> str:
    """The token that waits on the device."""
    return person.near.device.run("cat /identity/agent/enrolment-token").output.strip()


def profiles(person: Person) -> list[str]:
    """The files of the networks that the device knows."""
    return person.near.device.lines("find /data/network/connections -type f")


@pytest.mark.parametrize("number", range(CUTS_OF_A_RUN))
def test_a_power_cut_leaves_nothing_half_done(person: Person, relay: DeviceStack, number: int):
    what = random.Random(SEED).sample(list(CUTS), len(CUTS))[number]
    device, label, before, networks = person.near.device, person.label(), kept(person), len(profiles(person))
    with person.mini_browser() as page:
        CUTS[what](person, page, relay)
    pause = random.Random(SEED + number).uniform(0, 2)
    say(f"cut while {what}, {pause:.2f} s later (STRATA_SEED={SEED})")
    time.sleep(pause)
    device.cut()
    assert device.disk.check("identity", "data") == {}
    person.begin(HOME, PASSPHRASE)
    person.join()
    assert person.label() == label
    # Where a network led to the relay, it said what it thinks of the token.
    may_be = {"a token was given": {GIVEN}, "a network is tried": {before, ""}}.get(what, {before})
    assert kept(person) in may_be, "a token that was taken is kept"
    for path in device.lines("find /identity/agent /data/settings -name '*.json'"):
        json.loads(device.check(f"cat '{path}'"))
    texts = {path: device.check(f"cat {shlex.quote(path)}") for path in profiles(person)}
    assert all(f"psk={PASSPHRASE}\n" in text for text in texts.values()), texts
    assert len(texts) <= max(networks, what == "a network is tried"), "a network that was only chosen"
    with person.mini_browser() as page:
        open_page(page, "/")
        if kept(person):
            expect(page.get_by_text("token is kept")).to_be_visible()
        person.look_again(page, HOME)


def test_from_the_first_page_to_online(person: Person, relay: DeviceStack, page: Page):
    enrol(page, relay, relay.new_token())
    choose(page, HOME, PASSPHRASE)
    begun = time.monotonic()
    relay.wait_online(LIMIT_S)
    say(f"from submit to online: {time.monotonic() - begun:.0f} s")
    ssid, _ = person.label()
    wait_for("the access point is down", lambda: not person.near.phone.hears(ssid), LIMIT_S, every_s=1)
    kept = person.near.device.check("grep -l mode=infrastructure /data/network/connections/*")
    assert len(kept.splitlines()) == 1
