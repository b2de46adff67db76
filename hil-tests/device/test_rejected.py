"""Updates that must not succeed, each for real: refused, or tried and given up, with one sentence of why.

The sentence is asked for on the device and at the relay; whatever happened, the device runs what it ran before.
"""

from collections.abc import Callable

import pytest

from rig.vm import variants
from rig.vm.bundles import Bundle, Bundles
from rig.vm.device import Device
from rig.vm.server import Fault, FileServer
from rig.vm.stack import DeviceStack
from rig.vm.updates import Kept, sentence, wait_update
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk")

REFUSED = {
    "for another machine": (variants.for_another_machine, ["strata-rock-5b-plus", "strata-virtual"]),
    "signed by a stranger": (variants.by_a_stranger, ["sign"]),
    "expired certificate": (variants.expired, ["expired"]),
    "truncated": (variants.truncated, ["bundle"]),
    "below the floor": (variants.below_the_floor, ["0.0.1"]),
}
GIVEN_UP = {
    "kernel missing": (variants.without_kernel, ["kernel"]),
    "kernel panic": (variants.panics, ["started"]),
    "agent never ready": (variants.agent_never_ready, ["agent"]),
    "encoder fails": (variants.encoder_fails, ["encoder"]),
}
Maker = Callable[[Bundles], Bundle]


def runs_as_before(device: Device, relay: DeviceStack, before: Kept, slot: str) -> None:
    """The old slot runs, is the one that boots next, and nothing is lost."""
    assert device.slot() == slot
    assert Kept.of(device) == before
    assert device.check("fw_printenv -n BOOT_ORDER").split()[0] == slot
    assert relay.is_online()


def refused(device: Device, relay: DeviceStack, version: str, words: list[str]) -> None:
    """Refused, with a sentence that has these words, on the device and at the relay."""
    told = sentence(wait_update(relay, version, "refused")["error"])
    here = device.update_status()["update"]
    assert (here["version"], here["step"], here["error"]) == (version, "refused", told)
    for word in words:
        assert word.lower() in told.lower(), told
    print(told)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bundle_is_refused(enrolled: Device, relay: DeviceStack, bundles: Bundles, server: FileServer, name: str):
    maker, words = REFUSED[name]
    before, slot = Kept.of(enrolled), enrolled.slot()
    bundle = maker(bundles)
    relay.update(server.url(bundle.path.name), bundle.version)
    refused(enrolled, relay, bundle.version, words)
    runs_as_before(enrolled, relay, before, slot)


def test_a_bundle_that_is_not_there_is_refused(enrolled: Device, relay: DeviceStack, server: FileServer):
    before, slot = Kept.of(enrolled), enrolled.slot()
    relay.update(server.url("no-such.raucb"), "99.0.0")
    refused(enrolled, relay, "99.0.0", ["no-such.raucb"])
    runs_as_before(enrolled, relay, before, slot)


def test_another_build_of_the_version_is_refused(
    enrolled: Device, relay: DeviceStack, bundles: Bundles, server: FileServer
):
    before, slot = Kept.of(enrolled), enrolled.slot()
    bundle = variants.good(bundles)
    relay.update(server.url(bundle.path.name), bundle.version, manifest_sha256="0" * 64)
    refused(enrolled, relay, bundle.version, ["manifest"])
    runs_as_before(enrolled, relay, before, slot)


def test_a_server_that_goes_away_in_the_middle(
    enrolled: Device, relay: DeviceStack, bundles: Bundles, server: FileServer
):
    before, slot = Kept.of(enrolled), enrolled.slot()
    # A version of its own: the last one's refusal is still the newest update.
    bundle = variants.good(bundles, 11)
    # The blocks that differ from the running system lie anywhere: a part of what such an install fetches in all.
    server.faults[bundle.path.name] = Fault(vanish_after=1_000_000)
    relay.update(server.url(bundle.path.name), bundle.version)
    refused(enrolled, relay, bundle.version, ["server"])
    assert not server.runs, "the server was gone in the middle"
    runs_as_before(enrolled, relay, before, slot)


@pytest.mark.parametrize("name", GIVEN_UP)
def test_a_system_that_fails_is_given_up(
    enrolled: Device, relay: DeviceStack, bundles: Bundles, server: FileServer, name: str
):
    maker, words = GIVEN_UP[name]
    device = enrolled
    before, slot = Kept.of(device), device.slot()
    bundle = maker(bundles)
    relay.update(server.url(bundle.path.name), bundle.version)
    told = sentence(wait_update(relay, bundle.version, "rolled_back")["error"])
    for word in words:
        assert word.lower() in told.lower(), told

    # It is told before the reboot that does it.
    def booted() -> str | None:
        return next((s["name"].upper() for s in relay.status().get("slots", []) if s["booted"]), None)

    wait_for("the device is back", lambda: booted() == slot and relay.is_online(), 300, every_s=1)
    device.find_shell()
    here = device.update_status()
    assert (here["update"]["version"], here["update"]["step"], here["update"]["error"]) == (
        *(bundle.version, "rolled_back"),
        told,
    )
    for status in (here, relay.status()):
        bad = next(s for s in status["slots"] if not s["booted"])
        assert (bad["state"], bad["version"]) == ("bad", bundle.version)
        sentence(bad["reason"])
    kept = device.lines("ls -t /data/update/rejected")[0]
    assert bundle.version in kept
    if name in ("agent never ready", "encoder fails"):
        assert "strata" in device.check(f"cat /data/update/rejected/{kept}/journal.txt")
    runs_as_before(device, relay, before, slot)
    print(told)


def test_with_both_slots_used_up_it_starts_over_and_says_so(enrolled: Device, relay: DeviceStack):
    device = enrolled
    before, slot = Kept.of(device), device.slot()
    # From then on nothing gives attempts back in this boot.
    good = "test -e /run/strata-update/good"
    wait_for("the running system was called good", lambda: device.run(good).code == 0, 300, every_s=1)
    device.check("printf 'BOOT_A_LEFT=0\\nBOOT_B_LEFT=0\\n' | fw_setenv -s -")
    device.reboot()
    status = relay.wait_online()
    told = wait_for(
        "the problem is told",
        lambda: [p["message"] for p in relay.status()["problems"] if p["kind"] == "boot"],
        120,
        every_s=1,
    )
    assert "attempts" in sentence(told[0])
    assert told[0] in [p["message"] for p in device.problems()]
    assert status
    runs_as_before(device, relay, before, slot)
