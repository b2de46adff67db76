"""From box to online: a person with a phone, the device's own network, its pages, a home router and a relay.

Everything is real but the radio waves: NetworkManager, wpa_supplicant, dnsmasq, the kernel's mac80211 on simulated
radios, the relay, Chromium. The phone is a network namespace of the device's machine with a radio of its own.
"""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rig.browser import ARGUMENTS, CHROMIUM
from rig.stack import ROOT
from rig.vm.device import Device
from rig.vm.stack import DeviceStack
from rig.vm.wifi import DEVICE_ADDRESS, Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

# A name as a joker would choose it; 32 bytes are the most.
HOME, PASSPHRASE = "<script>alert(1)</script> ☕", "correct horse battery"
AXE = ROOT / "web" / "strata-web" / "node_modules" / "axe-core" / "axe.min.js"
NARROW = {"width": 320, "height": 568}
# An emulated device is slow: limits are for a hang, times are printed.
LIMIT_S = 300
PORTAL_API = f"http://{DEVICE_ADDRESS}/captive-portal/api"
LANGUAGE = "en-GB"

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


@pytest.fixture(scope="module")
def near(device: Device, relay: DeviceStack) -> Iterator[Neighbourhood]:
    """A new device, booted, with one radio and no cable; a router and a phone near it.

    It knows the relay's certificate authority as it knows those of public relays.
    """
    made = Neighbourhood(device)
    made.prepare()
    device.disk.debugfs(
        "rootfs-a",
        "rm etc/ssl/certs/ca-certificates.crt",
        f"write {relay.authority} etc/ssl/certs/ca-certificates.crt",
        "set_inode_field etc/ssl/certs/ca-certificates.crt mode 0100644",
        write=True,
    )
    try:
        begin(made)
        yield made
    finally:
        made.end()


def begin(near: Neighbourhood) -> None:
    """The device starts, near its owner's router and phone."""
    near.device.boot()
    near.begin()
    near.phone.leave()
    near.home.offer(HOME, PASSPHRASE)


@contextmanager
def chromium(near: Neighbourhood) -> Iterator[Browser]:
    """The phone's browser: whatever it asks for, it asks the device's own network."""
    to_device = f"--host-resolver-rules=MAP * 127.0.0.1:{near.phone.tunnel()}"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, to_device])
        yield launched
        launched.close()


@contextmanager
def mini_browser(near: Neighbourhood) -> Iterator[Page]:
    """A captive mini-browser: narrow, without JavaScript."""
    with chromium(near) as browser:
        context = browser.new_context(viewport=NARROW, java_script_enabled=False, locale=LANGUAGE)
        yield context.new_page()
        context.close()


@pytest.fixture
def browser(near: Neighbourhood) -> Iterator[Browser]:
    """The phone's browser, anew for each test: a device that starts again has another way to it."""
    with chromium(near) as made:
        yield made


@pytest.fixture
def page(near: Neighbourhood) -> Iterator[Page]:
    """The sheet that the phone opens."""
    with mini_browser(near) as made:
        yield made


def own_network(device: Device) -> tuple[str, str]:
    """Name and passphrase, as they are on the device's label."""
    made = wait_for(
        "the device has a network of its own",
        lambda: device.run("cat /identity/agent/access-point.json").output,
        LIMIT_S,
        every_s=1,
    )
    told = json.loads(made)
    return told["ssid"], told["passphrase"]


def join(near: Neighbourhood) -> None:
    """The phone joins the device's network, as soon as it is there."""
    ssid, passphrase = own_network(near.device)
    near.phone.must_hear(ssid)
    near.phone.join(ssid, passphrase, limit_s=LIMIT_S)


def say(text: str) -> None:
    """A figure of this run."""
    print(f"  {text}", flush=True)


def raw(near: Neighbourhood, request: str) -> str:
    """The answer to these bytes, from the phone's place."""
    with socket.create_connection(("127.0.0.1", near.phone.tunnel()), timeout=60) as connection:
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
            answer += part
    return answer.decode(errors="replace")


def choose(page: Page, ssid: str, passphrase: str) -> None:
    """Join a network on the device's pages."""
    page.goto(f"http://{DEVICE_ADDRESS}/wifi", timeout=120_000)
    page.get_by_role("link", name=ssid).click()
    page.get_by_label("Passphrase").fill(passphrase)
    page.get_by_role("button").click()


def enrol(page: Page, relay: DeviceStack, token: str) -> None:
    """Give the device its token on its pages."""
    page.goto(f"http://{DEVICE_ADDRESS}/relay", timeout=120_000)
    page.get_by_label("Address of the relay").fill(relay.relay_url)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button").click()


def trouble(page: Page) -> str:
    """What the first page says went wrong."""
    page.goto(f"http://{DEVICE_ADDRESS}/", timeout=120_000)
    return page.get_by_role("alert").inner_text()


def back_on(near: Neighbourhood, what: str, lost: bool = True) -> None:
    """The device's own network is back after something failed, and the phone on it by itself; times are printed."""
    begun = time.monotonic()
    if lost:
        # The former network has to be gone before its return means anything.
        wait_for("the phone lost the network", lambda: not near.phone.is_joined(), LIMIT_S, every_s=0.5)
    wait_for("the phone is on the network again", near.phone.is_joined, LIMIT_S, every_s=0.5)
    took = time.monotonic() - begun
    away = f"the access point was away for {away_s(near.device):.0f} s; " if lost else ""
    say(f"{what}: {away}the phone was back on it after {took:.0f} s")


def look_again(near: Neighbourhood, page: Page) -> None:
    """Have the device look for networks, for which its own goes away for a moment."""
    page.goto(f"http://{DEVICE_ADDRESS}/wifi", timeout=120_000)
    page.get_by_role("button", name="Look again").click()
    back_on(near, "look again")


def away_s(device: Device) -> float:
    """How long the access point was away the last time, by the agent's log."""
    times: dict[str, float] = {}
    for line in device.journal("-b -o short-monotonic -u strata-agent.service").splitlines():
        if told := re.search(r"\[ *([\d.]+)\].*access point .*is (up|taken down)", line):
            times[told[2]] = float(told[1])
    return times["up"] - times["taken down"]


def test_a_new_device_is_a_network_that_a_phone_joins(near: Neighbourhood):
    begun = time.monotonic()
    join(near)
    lease = near.phone.lease()
    said = near.device.journal("-b -o short-monotonic -u strata-agent.service")
    up = re.search(r"\[ *([\d.]+)\].*access point .* is up", said)
    assert up, said
    say(f"access point up {up[1]} s after the kernel began; the phone joined in {time.monotonic() - begun:.0f} s")
    assert lease.address.startswith("10.42.0.")
    assert (lease.dns, lease.captive_portal) == ([DEVICE_ADDRESS], PORTAL_API)


def test_the_first_page_says_what_to_do(near: Neighbourhood, page: Page, folder: Path):
    page.goto("http://captive.apple.com/hotspot-detect.html", timeout=120_000)
    expect(page).to_have_url(f"http://{DEVICE_ADDRESS}/")
    page.screenshot(path=folder / "start.png", full_page=True)


def test_looking_again_shows_a_network_that_came_later(near: Neighbourhood, page: Page, folder: Path):
    look_again(near, page)
    page.goto(f"http://{DEVICE_ADDRESS}/wifi", timeout=120_000)
    expect(page.get_by_role("link", name=HOME)).to_be_visible()
    page.screenshot(path=folder / "networks.png", full_page=True)


def test_nobody_is_shut_out(near: Neighbourhood, browser: Browser):
    context = browser.new_context(viewport=NARROW, locale=LANGUAGE)
    page = context.new_page()
    name = HOME.encode().hex()
    try:
        for path in ("/", "/wifi", f"/wifi/join?name={name}", "/wifi/join", "/relay", "/modems"):
            page.goto(f"http://{DEVICE_ADDRESS}{path}", timeout=120_000)
            page.evaluate(AXE.read_text())
            found = page.evaluate("axe.run()")["violations"]
            assert found == [], f"{path}: {[(one['id'], [node['html'] for node in one['nodes']]) for one in found]}"
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], f"{path} is too wide"
        page.goto(f"http://{DEVICE_ADDRESS}/relay", timeout=120_000)
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
def test_the_access_point_comes_back(near: Neighbourhood, what: str):
    before = near.device.check(SERVED)
    near.device.check(ACCIDENTS[what])
    # Each access point has a dnsmasq of its own, which the pages' answer needs, too.
    wait_for("the access point is another one", lambda: raised_again(near, before), LIMIT_S, every_s=1)
    back_on(near, what, lost=False)
    assert raw(near, PROBES["Android"]).split()[1] == "302"


def raised_again(near: Neighbourhood, before: str) -> bool:
    """Whether names are answered by another process than before."""
    now = near.device.check(SERVED)
    return bool(now.strip()) and now != before


def test_every_name_is_the_device(near: Neighbourhood):
    assert near.phone.resolve("relay.example.net") == [DEVICE_ADDRESS]
    assert near.phone.resolve("captive.apple.com", "8.8.8.8") == [DEVICE_ADDRESS], "a resolver that is built in"
    answer = near.phone.ask("relay.example.net", kind="AAAA")
    assert answer and answer.addresses == [], "nobody waits for an address of IPv6"


@pytest.mark.parametrize("system", PROBES)
def test_each_system_opens_the_sheet(near: Neighbourhood, system: str):
    answer = raw(near, PROBES[system])
    assert answer.split()[1] == "302", answer
    assert f"location: http://{DEVICE_ADDRESS}/" in answer.lower(), answer


def test_nothing_else_of_the_device_is_reached(near: Neighbourhood):
    ports = near.phone.ports(DEVICE_ADDRESS, [22, 53, 80, 443, 8080])
    assert ports == {22: "refused", 53: "open", 80: "open", 443: "refused", 8080: "refused"}
    assert near.phone.ports("192.168.77.1", [80])[80] == "open", "caught: every page is the device's"
    assert near.phone.ports("192.168.77.1", [443])[443] == "refused", "no way through the device"


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
def test_what_is_wrong_with_a_network_is_told_and_strands_nobody(
    near: Neighbourhood, page: Page, folder: Path, what: str
):
    fault = FAULTS[what]
    fault.begin(near)
    try:
        choose(page, HOME, fault.passphrase)
        expect(page.get_by_role("status")).to_contain_text("connects")
        back_on(near, what)
    finally:
        fault.end(near)
    told = trouble(page)
    page.screenshot(path=folder / f"{what.replace(' ', '-')}.png", full_page=True)
    assert HOME in told and re.search(fault.told, told, re.IGNORECASE), told
    assert HOME not in near.device.check("nmcli -t -f NAME connection show")


def test_a_power_cut_while_a_network_is_joined_leaves_nothing_half_done(near: Neighbourhood, relay: DeviceStack):
    with mini_browser(near) as page:
        enrol(page, relay, relay.new_token())
        choose(page, HOME, PASSPHRASE)
    near.device.cut()
    begin(near)
    join(near)
    assert near.device.run("ls /data/network/connections").output.split() == [], "a network that was only tried"
    with mini_browser(near) as page:
        page.goto(f"http://{DEVICE_ADDRESS}/", timeout=120_000)
        expect(page.get_by_text("token is kept")).to_be_visible()
        look_again(near, page)


def test_a_token_that_the_relay_does_not_know_is_told(near: Neighbourhood, relay: DeviceStack, page: Page):
    enrol(page, relay, "of-another-relay")
    choose(page, HOME, PASSPHRASE)
    back_on(near, "unknown token")
    assert "token" in trouble(page).lower()
    assert HOME in near.device.check("nmcli -t -f NAME connection show"), "a network that leads to the relay is kept"
    expect(page.get_by_text("This network works")).to_be_visible()


def test_from_the_first_page_to_online(near: Neighbourhood, relay: DeviceStack, page: Page, folder: Path):
    enrol(page, relay, relay.new_token())
    # The network that worked a moment ago is used at once.
    begun = time.monotonic()
    relay.wait_online(LIMIT_S)
    say(f"from submit to online: {time.monotonic() - begun:.0f} s")
    ssid, _ = own_network(near.device)
    wait_for("the access point is down", lambda: not near.phone.hears(ssid), LIMIT_S, every_s=1)
    kept = near.device.check("grep -l mode=infrastructure /data/network/connections/*")
    assert len(kept.splitlines()) == 1
