"""The neighbourhood of the onboarding tests is what it says: a home router, a phone, and a device between them.

Nothing here is the agent's: the device joins by NetworkManager's own command line.
"""

from collections.abc import Iterator

import pytest

from rig.vm.device import Device
from rig.vm.dns import NO_SUCH_NAME
from rig.vm.home import CHECK_HOST, CHECK_PATH, CHECK_TEXT, NETWORK, ROUTER, HomeRouter
from rig.vm.phone import Phone, WrongPassphrase
from rig.vm.shell import Answer
from rig.vm.wifi import Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "link-switch")

# Names that scripts trip over.
SSID, PASSPHRASE = 'Höme\'s "net" 1', "correct horse"
CHECK = f"curl -s --max-time 20 http://{CHECK_HOST}{CHECK_PATH}"
JOIN_S, LIMIT_S = 90, 120


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


def test_a_cable_is_another_way_out(around: Neighbourhood):
    around.plug()
    wait_for("a default route", lambda: around.device.check("ip -4 route show default"), LIMIT_S, every_s=1)
    around.plug(cable=False)
    wait_for("none", lambda: around.device.check("ip -4 route show default") == "", LIMIT_S, every_s=1)
