"""Another machine's place within the device under test: a network namespace with a radio of its own.

Owns running commands and programs there. The programs are units of the device's service manager, named `hil-…`, so that
they end by name. What they say is in files: the device's journal stays the device's.
"""

import shlex
from dataclasses import dataclass

from .device import Device
from .shell import Answer

FILES = "/run/hil"
# The place's radio, whatever the kernel called it.
RADIO = "radio"


@dataclass
class Place:
    """A namespace of the device that stands for another machine."""

    device: Device
    name: str

    def run(self, script: str, limit_s: float = 120) -> Answer:
        """Run a script of bash there; how it ended."""
        return self.device.run(f"ip netns exec {self.name} bash -c {shlex.quote(script)}", limit_s)

    def check(self, script: str, limit_s: float = 120) -> str:
        """Run a script that must end with status 0; its output."""
        return self.device.check(f"ip netns exec {self.name} bash -c {shlex.quote(script)}", limit_s)

    def ports(self, address: str, ports: list[int], limit_s: int = 5) -> dict[int, str]:
        """How TCP connections to ports go: `open`, `refused`, or `silent` when nothing comes back."""
        one = (
            f"said=$(timeout {limit_s} bash -c 'exec 3<>/dev/tcp/{address}/'$p 2>&1); code=$?; "
            "case $code in 0) echo $p open ;; 124) echo $p silent ;; *) echo $p refused ;; esac"
        )
        script = f"for p in {' '.join(map(str, ports))}; do {{ {one}; }} & done; wait"
        lines = self.check(script, 120 + limit_s * len(ports)).splitlines()
        return {int(line.split()[0]): line.split()[1] for line in lines if line.strip()}

    def unit(self, what: str) -> str:
        """The name of a program's unit."""
        return f"hil-{self.name}-{what}.service"

    def file(self, what: str) -> str:
        """The path of a file of this place."""
        return f"{FILES}/{self.name}-{what}"

    def log(self, what: str) -> str:
        """The file with what a program said since it was started."""
        return self.file(f"{what}.log")

    def start_words(self, what: str, command: str) -> str:
        """The words that start a program there; one of the same name ends first."""
        unit, log = self.unit(what), self.log(what)
        options = f"--quiet --collect --service-type=exec --unit={unit} -p NetworkNamespacePath=/run/netns/{self.name}"
        options += f" -p StandardOutput=append:{log} -p StandardError=append:{log}"
        return f"{self.stop_words(what)} && rm -f {log} && systemd-run {options} {command}"

    def stop_words(self, *whats: str) -> str:
        """The words that end programs there."""
        units = " ".join(map(self.unit, whats))
        return f"(for u in {units}; do ! systemctl is-active --quiet $u || systemctl stop $u || exit 1; done)"

    def supplicant(self, what: str, text: str) -> None:
        """Start wpa_supplicant with one network of the radio."""
        self.device.write(self.file("wpa.conf"), f"ctrl_interface={self.file('wpa')}\nnetwork={{\n{text}\n}}\n")
        # Its standard output comes in blocks, its own log in lines.
        command = f"wpa_supplicant -D nl80211 -i {RADIO} -c {self.file('wpa.conf')} -f {self.log(what)}"
        self.device.check(self.start_words(what, command))

    def supplicant_state(self) -> dict[str, str]:
        """What wpa_supplicant says of itself; empty when it does not run."""
        lines = self.device.run(f"wpa_cli -p {self.file('wpa')} -i {RADIO} status").output.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def said(self, what: str, lines: int = 1000) -> str:
        """What a program said since it was started."""
        return self.device.run(f"tail -n {lines} {self.log(what)}").output


def quoted(ssid: str) -> str:
    """A network's name as wpa_supplicant's configuration takes any; bytes that are no text are Python's surrogates."""
    return ssid.encode(errors="surrogateescape").hex()


def security(passphrase: str, wpa3: bool) -> str:
    """The lines of wpa_supplicant's configuration for a network's protection; for both ends."""
    if not passphrase:
        return "key_mgmt=NONE"
    if wpa3:
        return f'key_mgmt=SAE\nieee80211w=2\nsae_password="{passphrase}"'
    return f'key_mgmt=WPA-PSK\npsk="{passphrase}"'


# What an access point of today offers; clients take what they find.
CIPHERS = "proto=RSN\npairwise=CCMP\ngroup=CCMP"
