"""The device's neighbourhood: simulated radios, a home router and a phone, all within the one virtual device.

The kernel's mac80211_hwsim makes radios that hear each other. The device keeps its own, used by its own NetworkManager;
the others go to network namespaces that stand for other machines: `home` (`home.HomeRouter`), which also takes the
device's uplink, and `phone` (`phone.Phone`), which takes a network card for speaking from the host. What is left to the
device: its radio, and a network port without a cable. The tests' console needs no network.

Owns radios and cards and where they are. They are gone after each boot: `begin` again.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..boot import VIRTUAL, in_toolbox
from .device import Device
from .home import UPLINK, HomeRouter
from .image import target_folder
from .machine import TUNNEL_ADDRESS, TUNNEL_MAC
from .phone import BUSYBOX, LEASE_SCRIPT, Phone
from .place import FILES, RADIO, Place
from .server import FileServer

# QEMU counts its network cards so; the first one is the way out.
UPLINK_MAC = "52:54:00:12:34:56"
# The other card is the device's own network port.
PORT = 1
# The device's address in its own network (`strata-network`, NetworkManager's own choice for the first shared one).
DEVICE_ADDRESS = "10.42.0.1"
NM_CONF = "etc/NetworkManager/conf.d/90-hil.conf"


@dataclass
class Neighbourhood:
    """Radios, router and phone around one device that has so many radios itself."""

    device: Device
    radios: int = 1

    def __post_init__(self) -> None:
        self.home = HomeRouter(Place(self.device, "home"))
        self.phone = Phone(Place(self.device, "phone"))

    # --- radios and cards -------------------------------------------------------------------------------------------

    def mac(self, radio: int) -> str:
        """A simulated radio's hardware address: the device's come first, then the router's, then the phone's."""
        return f"02:00:00:00:{radio:02x}:00"

    @property
    def _others(self) -> dict[str, str]:
        """The hardware addresses of what is not the device's."""
        return {"home": self.mac(self.radios), "phone": self.mac(self.radios + 1)}

    def _files(self) -> dict[str, str]:
        """What the image needs in its configuration, so that it leaves alone what is not its own.

        And no camera: in the pictures of the kernel's it would look for QR codes, which costs an emulated processor.
        """
        strangers = ";".join(f"mac:{mac}" for mac in (*self._others.values(), UPLINK_MAC, TUNNEL_MAC))
        return {
            "etc/modules-load.d/hil.conf": "mac80211_hwsim\n",
            "etc/modprobe.d/hil.conf": f"options mac80211_hwsim radios={self.radios + 2}\nblacklist vivid\n",
            NM_CONF: f"[keyfile]\nunmanaged-devices={strangers}\n",
        }

    def prepare(self) -> None:
        """Change the device's disk, while it is off: it boots with its radios, and without any uplink.

        Only the slot A that it left the factory with.
        """
        commands = []
        for number, (name, text) in enumerate(self._files().items()):
            source = self.device.folder / f"file-{number}"
            source.write_text(text)
            commands += [f"write {source} {name}", f"set_inode_field {name} mode 0100644"]
            commands += [f"set_inode_field {name} uid 0", f"set_inode_field {name} gid 0"]
        self.device.disk.debugfs("rootfs-a", *commands, write=True)
        for left in self.device.folder.glob("file-*"):
            left.unlink()
        self.device.machine.tunnel = True
        self.device.machine.unplugged = (PORT,)

    def plug(self, cable: bool = True) -> None:
        """Put a cable into the device's network port, which leads to the internet; or pull it out."""
        self.device.machine.set_link(PORT, up=cable)

    # --- after each boot --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Radios and cards to their places, the router's services, the phone's programs; no access point yet."""
        self.device.check(self._script(), 300)
        self.home.set_up()
        self._bring_busybox()
        self.device.write(self.phone.place.file("dhcp-script"), LEASE_SCRIPT, 0o755)

    def _script(self) -> str:
        """Moves everything; what is where it belongs is left there."""
        text = self._files()[NM_CONF]
        words = [
            "set -e",
            f"mkdir -p {FILES} /run/NetworkManager/conf.d",
            # A device that was not prepared learns now what is not its own.
            f"[ -e /{NM_CONF} ] || {{ printf %s {shlex.quote(text)} >/run/NetworkManager/conf.d/90-hil.conf; "
            "nmcli general reload conf; }",
            # Loaded at boot, it may be on its way: this waits for its end.
            f"modprobe mac80211_hwsim radios={self.radios + 2}",
            "named() { grep -lx $1 /sys/class/net/*/address 2>/dev/null | cut -d/ -f5; }",
            # The shell comes before the drivers of all cards, and before their names.
            "move() { ! ip -n $1 link | grep -q $2 || return 0; until [ $(named $2) ]; do sleep 0.5; done; "
            "udevadm settle -t 120; i=$(named $2); ip link set $i down; ip link set $i netns $1 name $3; }",
        ]
        for place, mac in self._others.items():
            words += [
                f"[ -e /run/netns/{place} ] || ip netns add {place}; ip -n {place} link set lo up",
                f"for p in /sys/class/ieee80211/*; do [ $(cat $p/macaddress) != {mac} ] || "
                f"iw phy ${{p##*/}} set netns name {place}; done",
                f"i=$(ip netns exec {place} iw dev | sed -n 's/.*Interface //p')",
                f"[ $i = {RADIO} ] || {{ ip -n {place} link set $i down; ip -n {place} link set $i name {RADIO}; }}",
            ]
        words += [f"move home {UPLINK_MAC} {UPLINK}"]
        if self.device.machine.tunnel:
            rules = (
                "flush ruleset; table ip tunnel { "
                f"chain to {{ type nat hook prerouting priority -100; iifname tunnel dnat to {DEVICE_ADDRESS}; }}; "
                f"chain from {{ type nat hook postrouting priority 100; oifname {RADIO} masquerade; }}; }}"
            )
            words += [
                f"move phone {TUNNEL_MAC} tunnel",
                f"ip -n phone address replace {TUNNEL_ADDRESS}/24 dev tunnel; ip -n phone link set tunnel up",
                "ip netns exec phone sysctl -qw net.ipv4.ip_forward=1",
                f"ip netns exec phone nft {shlex.quote(rules)}",
            ]
        return "\n".join(words)

    def _bring_busybox(self) -> None:
        """The phone's DHCP client; the image has none of its own."""
        program = arm64_busybox()
        server = FileServer(program.parent, self.device.host, self.device.listen).start()
        try:
            self.home.place.check(f"curl -sSf -o {BUSYBOX} {server.url(program.name)} && chmod 755 {BUSYBOX}")
        finally:
            server.stop()

    def end(self) -> None:
        """Nothing goes on, on the host."""
        self.home.end()


def arm64_busybox() -> Path:
    """Debian's static busybox for the device's processor, out of the package that the image's initrd is made with."""
    program = target_folder() / "virtual" / "wifi" / "busybox"
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    debs = target_folder() / "virtual" / "kernel" / "debs"
    made = program.with_suffix(f".{os.getpid()}")
    in_toolbox(VIRTUAL / "arm64", "download", debs, "busybox-static")
    in_toolbox(
        *(
            "bash",
            "-ec",
            'd=$(mktemp -d); dpkg-deb -x "$1"/busybox-static_*.deb $d; install -m 755 $d/usr/bin/busybox "$2"',
        ),
        *("unpack", debs, made),
    )
    made.rename(program)
    return program
