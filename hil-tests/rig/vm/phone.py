"""A phone near the device: joins a network, gets an address, asks for names and pages, and lends its place to the host.

Owns the place `phone`: wpa_supplicant as a client, busybox's DHCP client (its script writes down every option that
came), and the tunnel by which a browser on the host speaks from the phone's address. Names are asked for with bytes of
our own: a phone has servers of its own in its programs, and what it is told is to be seen, not believed.
"""

import base64
import re
import secrets
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..waiting import TimedOut, wait_for
from . import dns
from .place import FILES, RADIO, Place, quoted, security

LIMIT_S = 90
BUSYBOX = f"{FILES}/busybox"
# Captive portal, RFC 8910.
PORTAL_OPTION = 114
# Sets the address and keeps the options, as `udhcpc` hands them over: in the environment.
LEASE_SCRIPT = f"""#!/bin/bash
case $1 in
    deconfig) ip address flush dev "$interface"; rm -f {FILES}/phone-lease ;;
    bound | renew)
        ip address replace "$ip/$mask" dev "$interface"
        [ -z "$router" ] || ip route replace default via "${{router%% *}}"
        env >{FILES}/phone-lease.new && mv {FILES}/phone-lease.new {FILES}/phone-lease ;;
esac
"""


class NotJoined(AssertionError):
    """The phone is not on the network, with the reason that it has."""


class WrongPassphrase(NotJoined):
    """The access point does not take the passphrase."""


@dataclass(frozen=True)
class Lease:
    """What the DHCP server gave."""

    address: str
    prefix: int
    router: str
    dns: list[str]
    # The address of the captive portal's API (option 114), if there was one.
    captive_portal: str | None
    options: dict[str, str]


@dataclass(frozen=True)
class Heard:
    """A network that the phone hears; a hidden one has no name."""

    ssid: str
    bssid: str
    frequency: int
    signal_dbm: float
    protected: bool


@dataclass(frozen=True)
class Page:
    """The answer to one HTTP request."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Phone:
    """A person's phone."""

    place: Place

    # --- Wi-Fi ------------------------------------------------------------------------------------------------------

    def associate(self, ssid: str, passphrase: str = "", *, wpa3: bool = False, limit_s: float = LIMIT_S) -> None:
        """Be on a network, without an address yet."""
        self.leave()
        self.place.supplicant("client", f"ssid={quoted(ssid)}\nscan_ssid=1\n{security(passphrase, wpa3)}")
        try:
            wait_for(f"the phone is on {ssid!r}", self._joined_or_refused, limit_s, every_s=0.5)
        except TimedOut as error:
            raise NotJoined(f"{error}; it said:\n{self.place.said('client', 12)}") from error

    def _joined_or_refused(self) -> bool:
        if self.is_joined():
            return True
        # WPA2 finds out at the end of the handshake, WPA3 (SAE, the second message) before it.
        if re.search(
            "reason=WRONG_KEY|AUTH-REJECT .* auth_type=3 auth_transaction=2", said := self.place.said("client")
        ):
            raise WrongPassphrase(said)
        return False

    def is_joined(self) -> bool:
        """Whether it is on a network, with the keys exchanged."""
        return self.place.supplicant_state().get("wpa_state") == "COMPLETED"

    def leave(self) -> None:
        """Leave the network; the address is given up."""
        stop = self.place.stop_words("dhcp", "client")
        flush = f"ip -n {self.place.name} address flush dev {RADIO}; rm -f {self.place.file('lease')}"
        self.place.device.check(f"{stop} && {flush} && ip -n {self.place.name} link set {RADIO} up")

    def scan(self) -> list[Heard]:
        """The networks that it hears now."""
        # A radio that already scans is busy.
        found = wait_for("the phone has scanned", self._scanned, LIMIT_S, every_s=1)
        return read_scan(found)

    def _scanned(self) -> str | None:
        # Now and then it waits for the end of a scan that has ended.
        told = self.place.run(f"timeout 20 iw dev {RADIO} scan flush")
        return f"{told.output}\n" if told.code == 0 else None

    def hears(self, ssid: str) -> bool:
        """Whether a network of this name is heard now."""
        return any(heard.ssid == ssid for heard in self.scan())

    def must_hear(self, ssid: str) -> None:
        """Find a network, as a person does who waits for it in the list: one scan may miss a beacon."""
        wait_for(f"the phone hears {ssid!r}", lambda: self.hears(ssid), LIMIT_S, every_s=1)

    # --- an address -------------------------------------------------------------------------------------------------

    def join(self, ssid: str, passphrase: str = "", *, wpa3: bool = False, limit_s: float = LIMIT_S) -> Lease:
        """Be on a network, with an address."""
        self.associate(ssid, passphrase, wpa3=wpa3, limit_s=limit_s)
        return self.get_address(limit_s)

    def get_address(self, limit_s: float = LIMIT_S) -> Lease:
        """Ask for an address, as a phone does, and for the options that phones ask for."""
        options = f"-f -i {RADIO} -s {self.place.file('dhcp-script')} -t 10 -T 2 -O {PORTAL_OPTION} -O 3 -O 6 -O 15"
        self.place.device.check(self.place.start_words("dhcp", f"{BUSYBOX} udhcpc {options}"))
        try:
            return wait_for("the phone has an address", self.lease, limit_s, every_s=0.5)
        except TimedOut as error:
            raise NotJoined(f"{error}; it said:\n{self.place.said('dhcp', 12)}") from error

    def lease(self) -> Lease | None:
        """What it was given, if it has an address."""
        told = self.place.device.run(f"cat {self.place.file('lease')}")
        return read_lease(told.output) if told.code == 0 else None

    # --- names ------------------------------------------------------------------------------------------------------

    def ask(self, name: str, server: str | None = None, kind: str = "A") -> dns.DnsAnswer | None:
        """Ask a name server, the network's own or another one, over UDP; None when no answer comes."""
        number = secrets.randbelow(1 << 16)
        query = base64.b64encode(dns.question(name, kind, number)).decode()
        told = self.place.run(
            # From a file: one write is one datagram.
            f"f={self.place.file('query')}; printf %s {query} | base64 -d >$f; "
            f"exec 3<>/dev/udp/{server or self._name_server()}/53 && cat $f >&3 && "
            "timeout 5 dd bs=4096 count=1 <&3 2>/dev/null | base64 -w 0"
        )
        return dns.read(base64.b64decode(told.output), number) if told.output.strip() else None

    def resolve(self, name: str, server: str | None = None) -> list[str]:
        """A name's IPv4 addresses; none when there is no such name, or nobody answers."""
        answer = self.ask(name, server)
        return answer.addresses if answer else []

    def _name_server(self) -> str:
        lease = self.lease()
        if not lease or not lease.dns:
            raise NotJoined("the phone was told of no name server")
        return lease.dns[0]

    # --- connections ------------------------------------------------------------------------------------------------

    def get(self, url: str, limit_s: int = 30) -> Page | None:
        """One HTTP request, the name asked from the network's server; None when nothing answers."""
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        resolve = ""
        if not re.fullmatch(r"[0-9.]+", parts.hostname):
            addresses = self.resolve(parts.hostname)
            if not addresses:
                return None
            resolve = f"--resolve {parts.hostname}:{port}:{addresses[0]}"
        words = f"curl -sS -i -k --http1.1 --max-time {limit_s} {resolve} {shlex.quote(url)}"
        told = self.place.run(words, limit_s + 60)
        return read_page(told.output) if told.code == 0 else None

    def tunnel(self, port: int = 80) -> int:
        """A port on the host's loopback that leads, from the phone's address, to this one of the device's network."""
        return self.place.device.machine.forward(port)


def read_lease(environment: str) -> Lease:
    """The lease, as `udhcpc` hands it to its script."""
    told = dict(line.split("=", 1) for line in environment.splitlines() if re.match(r"[a-z0-9]+=", line))
    portal = told.get(f"opt{PORTAL_OPTION}")
    return Lease(
        address=told["ip"],
        prefix=int(told["mask"]),
        router=told.get("router", "").partition(" ")[0],
        dns=told.get("dns", "").split(),
        captive_portal=bytes.fromhex(portal).decode() if portal else None,
        options=told,
    )


def read_scan(text: str) -> list[Heard]:
    """The networks in the output of `iw scan`."""
    found = []
    for part in re.split(r"(?m)^BSS ", text)[1:]:

        def value(name: str, part: str = part) -> str:
            match = re.search(rf"(?m)^\s+{name}: (.*)$", part)
            return match[1].strip() if match else ""

        found.append(
            Heard(
                ssid=_unescaped(value("SSID")),
                bssid=part[:17],
                frequency=int(float(value("freq") or 0)),
                signal_dbm=float(value("signal").split()[0]),
                protected="Privacy" in value("capability"),
            )
        )
    return found


def _unescaped(ssid: str) -> str:
    """A network's name as it is; `iw` prints bytes beyond ASCII in hexadecimal, and a hidden name as zeros."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), ssid.encode())
    return raw.decode(errors="replace").strip("\0")


def read_page(text: str) -> Page:
    """An answer, as `curl -i` prints it."""
    head, _, body = text.replace("\r", "").partition("\n\n")
    status, *lines = head.splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Page(int(status.split()[1]), headers, body)
