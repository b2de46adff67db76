"""Updates that succeed: over HTTP, asked for at the relay, waiting for a stream, good, and back by command."""

from pathlib import Path

import pytest

from rig.vm import variants
from rig.vm.bundles import Bundles
from rig.vm.device import Device
from rig.vm.server import FileServer
from rig.vm.stack import DeviceStack
from rig.vm.updates import LIMIT_S, Kept, wait_update
from rig.waiting import wait_for

MAX_SHARE = 0.20
# What a look at a bundle's signature and manifest takes, of hundreds of MB.
A_LOOK_BYTES = 4_000_000

pytestmark = pytest.mark.needs("qemu-disk")


def test_an_update_waits_for_the_stream_and_keeps_what_is_the_users(
    enrolled: Device, relay: DeviceStack, bundles: Bundles, server: FileServer
):
    device = enrolled
    first, slot = device.version(), device.slot()
    device.check("strata-settings set hostname hil-device")
    stream = relay.go_live_small({"kind": "test_pattern"}, record_locally=True)
    relay.wait_until_live(stream, 180)
    wait_for("segments", lambda: len(relay.playlist(stream).segments) >= 2, 120, every_s=1)

    bundle = variants.good(bundles)
    relay.update(server.url(bundle.path.name), bundle.version, "when_idle", manifest_sha256=bundle.manifest_sha256)
    wait_update(relay, bundle.version, "waiting", limit_s=60)
    newest = relay.playlist(stream).segments[-1].sequence
    wait_for("the stream goes on", lambda: relay.playlist(stream).segments[-1].sequence > newest + 3, 120, every_s=1)
    assert relay.update_status()["step"] == "waiting"
    assert server.sent[bundle.path.name] < A_LOOK_BYTES

    relay.stop_stream(stream, 120)
    before = Kept.of(device)
    assert before.media, "the stream was recorded"
    wait_update(relay, bundle.version, "downloading", "installed", "reboot_pending", "verifying", "good")
    wait_update(relay, bundle.version, "good")

    device.find_shell()
    assert (device.version(), device.slot()) == (bundle.version, "B" if slot == "A" else "A")
    assert device.version() != first
    now = Kept.of(device)
    assert (now.key, now.media) == (before.key, before.media)
    assert device.check("hostname").strip() == "hil-device"
    # A setting that only the newer image has.
    device.check(f"strata-settings set {variants.NEW_SETTING} false")
    status = device.update_status()
    assert status["update"]["step"] == "good"
    assert {s["name"]: s["state"] for s in status["slots"]} == {"a": "good", "b": "good"}


def test_one_changed_package_is_all_that_is_fetched(
    enrolled: Device, relay: DeviceStack, bundles: Bundles, server: FileServer, folder: Path
):
    device, slot = enrolled, enrolled.slot()
    bundle = variants.one_package(bundles)
    server.forget_counts()
    relay.update(server.url(bundle.path.name), bundle.version)
    wait_update(relay, bundle.version, "good")
    device.find_shell()
    assert (device.version(), device.slot() != slot) == (bundle.version, True)
    sent = server.sent[bundle.path.name]
    # Settings, brought back to the version that this image knows.
    assert device.check("hostname").strip() == "hil-device"
    assert device.run(f"strata-settings get {variants.NEW_SETTING}").code != 0
    told = f"{sent / 1e6:.1f} MB of {bundle.size / 1e6:.1f} MB fetched: {sent / bundle.size:.1%}"
    (folder / "fetched.txt").write_text(told + "\n")
    print(told)
    assert sent <= MAX_SHARE * bundle.size, told


def test_a_person_rolls_back(enrolled: Device, relay: DeviceStack):
    device = enrolled
    slot, before = device.slot(), Kept.of(device)
    other = next(s for s in device.update_status()["slots"] if not s["booted"])
    relay.command("rollback", even_if_live=False)

    def booted() -> str | None:
        return next((s["name"] for s in relay.status().get("slots", []) if s["booted"]), None)

    wait_for("the other slot runs", lambda: booted() == other["name"] and relay.is_online(), LIMIT_S, every_s=1)
    device.find_shell()
    assert (device.slot() != slot, device.version()) == (True, other["version"])
    now = Kept.of(device)
    assert (now.key, now.media) == (before.key, before.media)
    assert device.check(f"strata-settings get {variants.NEW_SETTING}").strip() == "false", "kept while nobody knew it"
