"""The data partition full, read-only, damaged or missing: the device boots, says so, and streams all the same."""

import random

import pytest

from rig.vm.device import Device
from rig.vm.image import MIB
from rig.vm.stack import DeviceStack
from rig.vm.updates import sentence
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk")

# Found again by looking through the whole partition.
TREASURE = b"strata-test-treasure-" + bytes(random.Random(1).choices(range(97, 123), k=64))


@pytest.fixture
def ready(device: Device, relay: DeviceStack) -> Device:
    """The device with good data, enrolled, online, off; each test begins with the same disk."""
    device.renew()
    relay.device_id = ""
    device.boot()
    device.wait_agent()
    device.enrol(relay.relay_url, relay.authority, relay.new_token())
    relay.wait_online()
    device.check("strata-settings set hostname hil-device")
    device.write("/data/media/treasure.txt", TREASURE.decode() * 100)
    device.check("sync")
    return device


def data_problem(relay: DeviceStack, device: Device) -> str:
    """The sentence about the data partition, the same at the relay and on the device."""
    told = wait_for(
        "the problem is told at the relay",
        lambda: [p["message"] for p in relay.status().get("problems", []) if p["kind"] == "data"],
        180,
        every_s=1,
    )
    here = device.run("strata-update status --json; cat /run/strata/state.json /run/strata-data/problems.json").output
    assert told[0] in here
    print(told[0])
    return sentence(told[0])


def streams(relay: DeviceStack) -> None:
    """A stream arrives and ends cleanly."""
    live = relay.go_live_small({"kind": "test_pattern"})
    relay.wait_until_live(live, 180)
    wait_for("segments", lambda: relay.playlist(live).segments, 120, every_s=1)
    relay.stop_stream(live, 120)


def boots_again(device: Device, relay: DeviceStack, key: str) -> None:
    """It boots, is the same device, and comes back to the relay."""
    device.boot()
    device.wait_agent()
    assert device.key() == key
    relay.wait_online()


def test_full(ready: Device, relay: DeviceStack):
    device, key = ready, ready.key()
    device.run("cat /dev/zero >/data/media/filler; sync", 600)
    device.cut()
    boots_again(device, relay, key)
    assert "full" in data_problem(relay, device).lower()
    streams(relay)
    assert device.check("strata-settings get hostname").strip() == "hil-device"
    assert TREASURE.decode() in device.check("head -c 200 /data/media/treasure.txt")
    device.check("rm /data/media/filler")
    wait_for(
        "the problem is over",
        lambda: not [p for p in relay.status().get("problems", []) if p["kind"] == "data"],
        180,
        every_s=1,
    )


def test_read_only(ready: Device, relay: DeviceStack):
    device, key = ready, ready.key()
    device.power_off()
    device.disk.tune("data", "-O", "read-only")
    boots_again(device, relay, key)
    assert "only be read" in data_problem(relay, device).lower()
    streams(relay)
    assert device.check("strata-settings get hostname").strip() == "hil-device"
    assert TREASURE.decode() in device.check("head -c 200 /data/media/treasure.txt")


def test_damaged(ready: Device, relay: DeviceStack):
    device, key = ready, ready.key()
    device.power_off()
    # All that describes the file system, and its journal's beginning: beyond what a check can put right by itself.
    device.disk.write("data", 0, random.Random(2).randbytes(4 * MIB))
    boots_again(device, relay, key)
    data_problem(relay, device)
    streams(relay)
    device.cut()
    place = device.disk.partitions["data"]
    assert TREASURE in device.disk.read("data", 0, place.size), "what was left of the data was overwritten"


def test_missing(ready: Device, relay: DeviceStack):
    device, key = ready, ready.key()
    device.power_off()
    device.disk.drop_partition("data")
    boots_again(device, relay, key)
    assert "missing" in data_problem(relay, device).lower()
    streams(relay)
