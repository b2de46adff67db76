"""What the tests of updates share: waiting for an update's end, and what must be the same after it as before."""

import re
from dataclasses import dataclass

from ..waiting import wait_for
from .device import Device
from .stack import DeviceStack

OVER = ("good", "rolled_back", "refused")
# Install, reboot, verify, and perhaps all the way back, on an emulated processor beside other work.
LIMIT_S = 900
# Words of programs and protocols, which say nothing to a support person.
JARGON = re.compile(r"GDBus|Traceback|panicked|\bErr\(|\bNone\b|::|errno|os error|[{}]|\bnbd\b|dm-verity")


def wait_update(relay: DeviceStack, version: str, *steps: str, limit_s: float = LIMIT_S) -> dict:
    """Until the relay knows the update to this version to be at one of these steps; an end that is none is an error."""

    def look() -> dict | None:
        update = relay.update_status()
        if update.get("version") != version:
            return None
        assert update["step"] in steps or update["step"] not in OVER, update
        return update if update["step"] in steps else None

    return wait_for(f"the update to {version} is {' or '.join(steps)}", look, limit_s, every_s=0.5)


def sentence(text: str | None) -> str:
    """A reason as a support person reads it: one sentence in words; itself."""
    assert text, "no reason is told"
    assert "\n" not in text, text
    assert 15 <= len(text) <= 400, text
    assert not JARGON.search(text), text
    return text


@dataclass(frozen=True)
class Kept:
    """What an update must not touch."""

    key: str
    settings: str
    media: str

    @classmethod
    def of(cls, device: Device) -> "Kept":
        """Of a device as it is now."""
        media = device.check("cd /data/media && find . -type f -exec sha256sum {} + | sort -k2", 300)
        return cls(device.key(), device.check("strata-settings get --json"), media)
