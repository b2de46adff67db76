"""The neighbourhood of the onboarding tests is what it says: a home router, a phone, and a device between them.

Nothing here is the agent's: the device joins by NetworkManager's own command line.
"""

import socket
import urllib.request
from collections.abc import Iterator

import pytest

from rig.vm.device import Device
from rig.vm.dns import NO_SUCH_NAME
from rig.vm.home import CHECK_HOST, CHECK_PATH, CHECK_TEXT, NETWORK, ROUTER, HomeRouter
from rig.vm.phone import NotJoined, Phone, WrongPassphrase
from rig.vm.shell import Answer
from rig.vm.wifi import DEVICE_ADDRESS, Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "link-switch")

# Names that scripts trip over.
SSID, PASSPHRASE = 'Höme\'s "net" 1', "correct horse"
AP_SSID, AP_PASSPHRASE = "Device-0000", "a9a9-ijkm-9876"
CHECK = f"curl -s --max-time 20 http://{CHECK_HOST}{CHECK_PATH}"
JOIN_S, LIMIT_S = 90, 120
# A page for each connection, by whoever has no web server.
PAGE = r"""#!/bin/bash
while read -r line && [ ${#line} -gt 1 ]; do :; done
printf 'HTTP/1.0 200 OK\r\n\r\nfrom the device\n'
"""


@pytest.fixture(scope="module")
def around(neighbourhood: Neighbourhood) -> Neighbourhood:
    """The neighbourhood of a device whose radio is the test's."""
    neighbourhood.device.check("systemctl stop strata-agent.service")
    return neighbourhood


@pytest.fixture
def home(around: Neighbourhood) -> Iterator[HomeRouter]:
    """A router without faults, and a device that does not know it."""
    around.home.route()
    around.home.serve()
    yield around.home
    around.device.run("nmcli connection delete home")
    around.home.gone()


@pytest.fixture
def phone(around: Neighbourhood) -> Iterator[Phone]:
    """A phone on no network."""
    around.phone.leave()
    yield around.phone
    around.phone.leave()


def make_profile(device: Device, *more: str) -> None:
    """A profile of the home network on the device."""
    quoted = SSID.replace('"', '\\"')
    words = ["type wifi con-name home ifname wlan0 autoconnect no", f'ssid "{quoted}"', *more]
    device.run("nmcli connection delete home")
    device.check(f"nmcli connection add {' '.join(words)}")


def wpa(passphrase: str) -> str:
    """The profile's words for a protected network."""
    return f"wifi-sec.key-mgmt wpa-psk wifi-sec.psk '{passphrase}'"


def join(device: Device) -> Answer:
    """Have NetworkManager join the home network; how that went."""
    return device.run(f"nmcli --wait {JOIN_S} connection up home", JOIN_S + 60)


def must_join(device: Device) -> None:
    """The same, and it must go well."""
    answer = join(device)
    assert answer.code == 0, answer.output + answer.errors + device.journal("-n 40 -u NetworkManager -u wpa_supplicant")


def states(device: Device) -> dict[str, str]:
    """NetworkManager's devices and their states."""
    lines = device.lines("nmcli -t -f DEVICE,STATE device")
    return dict(line.rsplit(":", 1) for line in lines)


def test_the_device_has_a_radio_and_no_way_out(around: Neighbourhood):
    assert around.device.check("ip -4 route show default") == ""
    radios = around.device.lines("ls /sys/class/ieee80211")
    assert len(radios) == 1
    wait_for("the radio is ready", lambda: states(around.device).get("wlan0") == "disconnected", LIMIT_S, every_s=1)
    # Its network port, without a cable.
    assert "unavailable" in states(around.device).values(), states(around.device)


def test_the_device_is_online_over_the_home_router_alone(around: Neighbourhood, home: HomeRouter):
    home.offer(SSID, PASSPHRASE)
    make_profile(around.device, wpa(PASSPHRASE))
    must_join(around.device)
    assert f"inet {NETWORK}." in around.device.check("ip -4 address show wlan0")
    assert home.stations() == [around.mac(0)]
    home.web.requests.clear()
    assert around.device.check(CHECK) == CHECK_TEXT.strip()
    assert home.web.requests == [(CHECK_HOST, CHECK_PATH)]
    assert CHECK_HOST in home.queries()
    # Any server of the host, as a relay is one.
    direct = f"curl -s --max-time 20 http://{around.device.host}:{home.web.port}{CHECK_PATH}"
    assert around.device.check(direct) == CHECK_TEXT.strip()


def test_the_ways_in_which_the_internet_is_missing(around: Neighbourhood, home: HomeRouter):
    device = around.device
    home.offer(SSID, PASSPHRASE)
    make_profile(device, wpa(PASSPHRASE))
    must_join(device)
    home.route(hotel=True)
    assert "302" in device.check(f"{CHECK} -o /dev/null -w '%{{http_code}}'")
    home.route(internet=False)
    assert device.run(CHECK.replace("20", "5")).code != 0
    home.route()
    assert device.check(CHECK) == CHECK_TEXT.strip()
    for wrong in ("wrong", "none"):
        home.serve(dns=wrong)
        must_join(device)
        assert device.run(CHECK.replace("20", "5")).code != 0, wrong


def test_a_wrong_passphrase_is_refused(around: Neighbourhood, home: HomeRouter):
    home.offer(SSID, PASSPHRASE)
    make_profile(around.device, wpa("wrong horse"))
    answer = join(around.device)
    assert answer.code != 0
    assert "ecrets were required" in answer.errors, answer


def test_a_router_may_give_no_address(around: Neighbourhood, home: HomeRouter):
    home.serve(dhcp=False)
    home.offer(SSID, PASSPHRASE)
    make_profile(around.device, wpa(PASSPHRASE), "ipv4.dhcp-timeout 10 ipv6.method disabled")
    answer = join(around.device)
    assert answer.code != 0
    assert "IP configuration could not be reserved" in answer.errors, answer


@pytest.mark.parametrize("kind", ["open", "wpa3", "hidden"])
def test_other_kinds_of_networks_are_joined(around: Neighbourhood, home: HomeRouter, kind: str):
    passphrase = "" if kind == "open" else PASSPHRASE
    words = {
        "open": "",
        "wpa3": wpa(PASSPHRASE).replace("wpa-psk", "sae"),
        "hidden": wpa(PASSPHRASE) + " 802-11-wireless.hidden yes",
    }
    home.offer(SSID, passphrase, wpa3=kind == "wpa3", hidden=kind == "hidden")
    make_profile(around.device, words[kind])
    must_join(around.device)
    assert around.device.check(CHECK) == CHECK_TEXT.strip()


def test_a_router_that_goes_and_comes_back_with_another_passphrase(around: Neighbourhood, home: HomeRouter):
    device = around.device
    home.offer(SSID, PASSPHRASE)
    make_profile(device, wpa(PASSPHRASE))
    must_join(device)
    home.gone()
    wait_for("the device has noticed", lambda: states(device)["wlan0"] != "connected", LIMIT_S, every_s=1)
    home.back()
    must_join(device)
    home.offer(SSID, "another horse")
    wait_for("the device has noticed", lambda: states(device)["wlan0"] != "connected", LIMIT_S, every_s=1)
    assert join(device).code != 0


def test_a_phone_joins_and_is_told_of_a_portal(home: HomeRouter, phone: Phone):
    home.serve(more=("dhcp-option-force=114,http://portal.example/api",))
    home.offer(SSID, PASSPHRASE)
    phone.must_hear(SSID)
    lease = phone.join(SSID, PASSPHRASE)
    assert lease.address.startswith(f"{NETWORK}.")
    assert (lease.router, lease.dns, lease.captive_portal) == (ROUTER, [ROUTER], "http://portal.example/api")
    assert phone.resolve(CHECK_HOST) == [ROUTER]
    assert phone.ask("nothing.example").code == NO_SUCH_NAME
    page = phone.get(f"http://{CHECK_HOST}{CHECK_PATH}")
    assert (page.status, page.body, page.headers["x-networkmanager-status"]) == (200, CHECK_TEXT.strip(), "online")
    assert phone.is_joined()
    phone.leave()
    assert not phone.is_joined()
    for wpa3 in (False, True):
        home.offer(SSID, PASSPHRASE, wpa3=wpa3)
        with pytest.raises(WrongPassphrase):
            phone.join(SSID, "wrong horse", wpa3=wpa3)


@pytest.fixture(scope="module")
def own_network(around: Neighbourhood) -> Iterator[None]:
    """The device is an access point, made with NetworkManager's own command line."""
    device = around.device
    words = (
        "type wifi con-name own ifname wlan0 autoconnect no mode ap 802-11-wireless.band bg 802-11-wireless.channel 6"
    )
    words += f" ssid {AP_SSID} wifi-sec.key-mgmt wpa-psk wifi-sec.psk {AP_PASSPHRASE} wifi-sec.proto rsn"
    words += " wifi-sec.pairwise ccmp wifi-sec.group ccmp"
    words += f" ipv4.method shared ipv4.addresses {DEVICE_ADDRESS}/24 ipv6.method disabled"
    device.check(f"nmcli connection add {words}")
    device.check(f"nmcli --wait {JOIN_S} connection up own", JOIN_S + 60)
    device.write("/run/hil/page", PAGE, 0o755)
    server = f"systemd-socket-activate --accept --inetd -l {DEVICE_ADDRESS}:80 /run/hil/page"
    device.check(f"systemd-run --quiet --collect --unit=hil-page {server}")
    yield
    device.run("systemctl stop hil-page; nmcli connection delete own")


def test_a_phone_on_the_devices_own_network(around: Neighbourhood, own_network: None, phone: Phone):
    phone.must_hear(AP_SSID)
    lease = phone.join(AP_SSID, AP_PASSPHRASE)
    assert (lease.router, lease.dns, lease.prefix) == (DEVICE_ADDRESS, [DEVICE_ADDRESS], 24)
    assert phone.ports(DEVICE_ADDRESS, [53, 80, 22]) == {53: "open", 80: "open", 22: "refused"}
    page = phone.get(f"http://{DEVICE_ADDRESS}/")
    assert (page.status, page.body) == (200, "from the device")
    with urllib.request.urlopen(f"http://127.0.0.1:{phone.tunnel()}/", timeout=60) as answer:
        assert answer.read() == b"from the device\n"


def test_the_tunnel_speaks_from_the_phones_address(around: Neighbourhood, own_network: None, phone: Phone):
    lease = phone.join(AP_SSID, AP_PASSPHRASE)
    with socket.create_connection(("127.0.0.1", phone.tunnel(53)), timeout=60):
        peers = wait_for(
            "the device has the connection",
            lambda: around.device.lines("ss -Htn state established '( sport = :53 )'"),
            LIMIT_S,
            every_s=0.5,
        )
    assert lease.address in peers[0].split()[3], peers


def test_a_name_server_of_the_phones_own_may_be_caught(around: Neighbourhood, own_network: None, phone: Phone):
    phone.join(AP_SSID, AP_PASSPHRASE)
    assert phone.ask("localhost", "8.8.8.8") is None
    rule = "table ip hil { chain c { type nat hook prerouting priority -100; udp dport 53 redirect to :53; }; }"
    around.device.check(f"nft '{rule}'")
    answer = phone.ask("localhost", "8.8.8.8")
    around.device.check("nft delete table ip hil")
    # As the image has it: every name is the device.
    assert answer.addresses == [DEVICE_ADDRESS]


def test_a_phone_with_a_wrong_passphrase_is_refused(own_network: None, phone: Phone):
    with pytest.raises(NotJoined):
        phone.join(AP_SSID, "a9a9-ijkm-9877")


def test_a_cable_is_another_way_out(around: Neighbourhood):
    around.plug()
    wait_for("a default route", lambda: around.device.check("ip -4 route show default"), LIMIT_S, every_s=1)
    around.plug(cable=False)
    wait_for("none", lambda: around.device.check("ip -4 route show default") == "", LIMIT_S, every_s=1)
