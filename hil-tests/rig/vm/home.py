"""The home router that the device joins: an access point with DHCP, DNS and a way out, and the faults that such have.

Owns the place `home`: wpa_supplicant as the access point, dnsmasq, nftables, and the web page by which NetworkManager
finds out whether there is internet. The page is answered by this process: the router hands its own port 80 out to the
host. The device's uplink is moved here, so the device has no way out but this one.
"""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..waiting import TimedOut, wait_for
from .machine import GUEST_ADDRESSES, HOST
from .place import CIPHERS, RADIO, Place, quoted, security

ROUTER, NETWORK, PREFIX = "192.168.77.1", "192.168.77", 24
UPLINK = "uplink"
# An address that nobody has (RFC 5737): who asks there waits.
NOBODY = "192.0.2.53"
CHECK_HOST, CHECK_PATH, CHECK_TEXT = "nmcheck.gnome.org", "/check_network_status.txt", "NetworkManager is online\n"
HOTEL = "http://login.hotel.example/"
# 2.4 GHz, channel 1.
FREQUENCY = 2412
LIMIT_S = 60


class CheckServer:
    """What the internet answers on port 80: the connectivity check's text, or a hotel's login page."""

    def __init__(self, listen: str = "127.0.0.1") -> None:
        self.hotel = False
        # Host name and path of each request.
        self.requests: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer((listen, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        host = request.headers.get("Host", "")
        self.requests.append((host, request.path))
        status, body, headers = 404, b"", {}
        if self.hotel and host != HOTEL.split("/")[2]:
            status, headers = 302, {"Location": HOTEL}
        elif self.hotel:
            status, body = 200, b"<html><title>Hotel</title>Room number, please.</html>"
        elif request.path == CHECK_PATH:
            status, body, headers = 200, CHECK_TEXT.encode(), {"X-NetworkManager-Status": "online"}
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def stop(self) -> None:
        """Gone."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class HomeRouter:
    """A household's router. Each fault is a method; what it is told last holds until it is told otherwise."""

    place: Place
    web: CheckServer = field(default_factory=CheckServer)
    # What its DNS knows beside the connectivity check's name; every other name does not exist.
    names: dict[str, str] = field(default_factory=dict)
    ssid: str = ""
    passphrase: str = ""
    _network: str = ""

    # --- the access point -------------------------------------------------------------------------------------------

    def offer(self, ssid: str, passphrase: str = "", *, wpa3: bool = False, hidden: bool = False) -> None:
        """Be an access point of this name: WPA2, WPA3 or, without a passphrase, open. Who was on it is sent away."""
        self.ssid, self.passphrase = ssid, passphrase
        self._network = (
            f"ssid={quoted(ssid)}\nmode=2\nfrequency={FREQUENCY}\n{security(passphrase, wpa3)}\n{CIPHERS}\n"
            f"ignore_broadcast_ssid={int(hidden)}"
        )
        self.back()

    def back(self) -> None:
        """The access point as it was."""
        self.place.supplicant("access-point", self._network)
        try:
            wait_for("the router's access point is on", self.is_on, LIMIT_S, every_s=0.5)
        except TimedOut as error:
            raise TimedOut(f"{error}; it said:\n{self.place.said('access-point', 20)}") from error

    def is_on(self) -> bool:
        """Whether the access point is on."""
        told = self.place.supplicant_state()
        return (told.get("wpa_state"), told.get("mode")) == ("COMPLETED", "AP")

    def gone(self) -> None:
        """Pull the router's plug, as far as radio is concerned."""
        self.place.device.check(self.place.stop_words("access-point"))

    def stations(self) -> list[str]:
        """The hardware addresses of who is on it."""
        lines = self.place.check(f"iw dev {RADIO} station dump").splitlines()
        return [line.split()[1] for line in lines if line.startswith("Station ")]

    # --- addresses and names ----------------------------------------------------------------------------------------

    def serve(self, *, dhcp: bool = True, dns: str = "right", more: tuple[str, ...] = ()) -> None:
        """Give addresses, or not; and a name server that is `right`, `wrong` (nobody is there) or `none`.

        `more`: lines of dnsmasq's configuration.
        """
        lines = ["user=root", "pid-file=", "bind-interfaces", f"interface={RADIO}", "except-interface=lo"]
        lines += ["no-resolv", "no-hosts", "log-queries", "log-dhcp", "log-facility=-"]
        if dhcp:
            # Nobody is pinged before an address is given: it takes three seconds.
            lines += [f"dhcp-range={NETWORK}.50,{NETWORK}.99,1h", "dhcp-authoritative", "no-ping"]
            lines += [f"dhcp-leasefile={self.place.file('leases')}"]
            # An option without a value is not sent.
            lines += [{"right": "", "wrong": f"dhcp-option=6,{NOBODY}", "none": "dhcp-option=6"}[dns]]
        if dns == "right":
            names = {CHECK_HOST: ROUTER, HOTEL.split("/")[2]: ROUTER, **self.names}
            lines += [f"address=/{name}/{address}" for name, address in names.items()]
            lines += ["address=/#/"]
        else:
            lines += ["port=0"]
        lines += more
        self.place.device.write(self.place.file("dnsmasq.conf"), "\n".join(lines) + "\n")
        command = f"dnsmasq --keep-in-foreground --conf-file={self.place.file('dnsmasq.conf')}"
        self.place.device.check(self.place.start_words("names", command))

        def listens() -> bool:
            sockets = self.place.check("ss -Hlun").splitlines()
            ports = {line.split()[3].rpartition(":")[2] for line in sockets}
            return {*(("67",) if dhcp else ()), *(("53",) if dns == "right" else ())} <= ports

        wait_for("the router's dnsmasq listens", listens, LIMIT_S, every_s=0.5)

    def queries(self) -> list[str]:
        """The names that were asked for, in order, since the last `serve`."""
        words = [line.split() for line in self.place.said("names").splitlines()]
        return [w[w.index(q) + 1] for w in words for q in w if q.startswith("query[")]

    # --- the way out ------------------------------------------------------------------------------------------------

    def route(self, *, internet: bool = True, hotel: bool = False, only_pages: bool = False) -> None:
        """The way out: as it should be; none at all (what goes out is lost); or a hotel's, with its login page first.

        `internet` false loses the connectivity check, too, while the router goes on answering for names. `only_pages`
        loses everything but that check.
        """
        self.web.hotel = hotel
        pages = f"dnat to {HOST}:{self.web.port}"
        caught = f"iifname {RADIO} tcp dport 80 {pages}" if hotel else f"ip daddr {ROUTER} tcp dport 80 {pages}"
        # What passes a hotel's router before the login is what it caught itself.
        passes = "ct status dnat accept" if hotel or only_pages else "accept"
        forward = passes if internet else "drop"
        self.place.device.write(
            self.place.file("nft"),
            "flush ruleset\ntable ip home {\n"
            f"chain caught {{ type nat hook prerouting priority -100; {caught}\n}}\n"
            f"chain out {{ type nat hook postrouting priority 100; oifname {UPLINK} masquerade\n}}\n"
            f"chain forward {{ type filter hook forward priority 0; policy drop; {forward}\n}}\n}}\n",
        )
        self.place.check(f"nft -f {self.place.file('nft')}")

    # --- set up -----------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Addresses and routes of the place; then everything as it should be, but no access point yet."""
        self.place.check(
            "set -e; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1; "
            f"ip address replace {ROUTER}/{PREFIX} dev {RADIO}; ip link set {RADIO} up; "
            f"ip address replace {GUEST_ADDRESSES[0]}/24 dev {UPLINK}; ip link set {UPLINK} up; "
            f"ip route replace default via {HOST}"
        )
        self.route()
        self.serve()

    def end(self) -> None:
        """No process of it on the host goes on."""
        self.web.stop()
