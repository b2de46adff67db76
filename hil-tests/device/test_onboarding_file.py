"""A device that is set up by a file on its card: `strata.toml`, written before the first start, done once."""

from collections.abc import Iterator

import pytest

from rig.vm.device import Device
from rig.vm.stack import DeviceStack
from rig.vm.wifi import Neighbourhood

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

FILE, RESULT = "strata.toml", "strata-result.txt"
HOME, PASSPHRASE = "Café ☕", "four green boats 7"
TOO_SHORT = "c0rrect"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAP2MxFFJujOW4VySOyX6k4pyqSPODbtg42wzMqtSTh3 anna"
LIMIT_S = 300


def text(relay: DeviceStack, token: str, passphrase: str) -> str:
    """All that such a file may ask for."""
    return f"""\
relay = "{relay.relay_url}"
relay_ca = "ca.pem"
token = "{token}"
hostname = "van-3"
country = "DE"
ssh_keys = ["{KEY}"]

[wifi]
ssid = "{HOME}"
passphrase = "{passphrase}"

[modem]
apn = "internet.example"
"""


@pytest.fixture(scope="module")
def near(device: Device, relay: DeviceStack) -> Iterator[Neighbourhood]:
    """A new device whose card has a file with a mistake in it; a home router near it."""
    made = Neighbourhood(device)
    made.prepare()
    device.disk.put_boot_file("ca.pem", relay.authority.read_text())
    device.disk.put_boot_file(FILE, text(relay, relay.new_token(), TOO_SHORT))
    try:
        yield made
    finally:
        made.end()


def boot(near: Neighbourhood) -> Device:
    """Start the device, near its owner's router."""
    near.device.boot()
    near.begin()
    near.home.offer(HOME, PASSPHRASE)
    return near.device


def test_a_file_with_a_mistake_changes_nothing_and_is_answered(near: Neighbourhood):
    device = near.device
    device.boot()
    device.wait_agent()
    assert device.check("strata-settings get hostname").strip() == "strata"
    assert device.lines("ls /data/network/connections") == []
    assert device.run("test -e /identity/agent/enrolment-token").code != 0
    assert TOO_SHORT not in device.journal("-b")
    device.power_off()
    answer = device.disk.boot_file(RESULT)
    assert "nothing was changed" in answer and "wifi: a passphrase has 8 to 63 characters" in answer, answer
    assert FILE in device.disk.boot_files()


def test_a_good_file_brings_the_device_online_without_a_person(near: Neighbourhood, relay: DeviceStack):
    token = relay.new_token()
    near.device.disk.put_boot_file(FILE, text(relay, token, PASSPHRASE))
    device = boot(near)
    relay.wait_online(LIMIT_S)
    assert device.check("strata-settings get hostname").strip() == "van-3"
    assert device.check("hostname").strip() == "van-3"
    assert "country DE:" in device.check("iw reg get")
    assert KEY in device.check("cat /run/strata-settings/authorized_keys")
    assert device.check("nmcli -g gsm.apn connection show mobile").strip() == "internet.example"
    # The device found the file's network by itself, and kept it.
    assert HOME in device.check("nmcli -t -f NAME connection show --active")
    for secret in (token, PASSPHRASE):
        assert secret not in device.journal("-b")
    device.cut()
    answer = device.disk.boot_file(RESULT)
    assert "done" in answer and HOME in answer and PASSPHRASE not in answer, answer
    assert FILE not in device.disk.boot_files()
    place = device.disk.partitions["boot"]
    assert PASSPHRASE.encode() not in device.disk.read("boot", 0, place.size), "the secret is not on the card any more"
