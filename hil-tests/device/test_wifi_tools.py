"""What the rig reads of names, leases and scans; needs no device."""

import urllib.error
import urllib.request

import pytest

from rig.vm import dns
from rig.vm.home import CHECK_HOST, CHECK_PATH, CHECK_TEXT, HOTEL, CheckServer
from rig.vm.phone import read_lease, read_page, read_scan

pytestmark = pytest.mark.tools

SCAN = """BSS 02:00:00:00:01:00(on radio)
\tTSF: 0 usec (0d, 00:00:00)
\tfreq: 2412.0
\tcapability: ESS Privacy ShortSlotTime (0x0411)
\tsignal: -30.00 dBm
\tSSID: H\\xc3\\xb6me 1
\tRSN:\t * Version: 1
BSS 02:00:00:00:00:00(on radio)
\tfreq: 2437
\tcapability: ESS (0x0401)
\tsignal: -31.00 dBm
\tSSID: \\x00\\x00
"""


def test_a_name_is_asked_for_and_the_answer_read():
    query = dns.question("nmcheck.gnome.org", "A", 7)
    assert query.endswith(b"\x07nmcheck\x05gnome\x03org\0\0\x01\0\x01")
    record = bytes.fromhex("c00c 0001 0001 0000003c 0004 0a2a0001")
    answer = b"\0\x07\x85\x80\0\x01\0\x01\0\0\0\0" + query[12:] + record
    assert dns.read(answer, 7) == dns.DnsAnswer(dns.NO_ERROR, ["10.42.0.1"], 60, True)
    for damaged in (answer[:-1], answer[:20], b"", b"\0\x08" + answer[2:]):
        with pytest.raises(dns.NotAnAnswer):
            dns.read(damaged, 7)
    refused = b"\0\x07\x81\x85\0\x01\0\0\0\0\0\0" + query[12:]
    assert dns.read(refused, 7) == dns.DnsAnswer(dns.REFUSED, [], None)


def test_a_lease_is_read_with_its_portal():
    portal = b"http://10.42.0.1/api".hex()
    text = f"PATH=/bin\nip=10.42.0.9\nmask=24\nrouter=10.42.0.1\ndns=10.42.0.1 10.42.0.2\nopt114={portal}\n"
    lease = read_lease(text)
    assert (lease.address, lease.prefix, lease.router) == ("10.42.0.9", 24, "10.42.0.1")
    assert (lease.dns, lease.captive_portal) == (["10.42.0.1", "10.42.0.2"], "http://10.42.0.1/api")
    assert read_lease("ip=10.42.0.9\nmask=24\n").captive_portal is None


def test_networks_are_read_from_a_scan():
    home, hidden = read_scan(SCAN)
    assert (home.ssid, home.bssid, home.frequency, home.protected) == ("Höme 1", "02:00:00:00:01:00", 2412, True)
    assert (hidden.ssid, hidden.frequency, hidden.signal_dbm, hidden.protected) == ("", 2437, -31.0, False)


def test_a_page_is_read():
    page = read_page("HTTP/1.1 302 Found\r\nLocation: http://10.42.0.1/\r\n\r\nfirst\n\nsecond\n")
    assert (page.status, page.headers, page.body) == (302, {"location": "http://10.42.0.1/"}, "first\n\nsecond\n")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Shows the redirect."""

    def redirect_request(self, *_words) -> None:
        """None is the wish to see it."""


def test_the_connectivity_check_is_answered_or_caught():
    server = CheckServer()
    url = f"http://127.0.0.1:{server.port}{CHECK_PATH}"
    request = urllib.request.Request(url, headers={"Host": CHECK_HOST})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers["X-NetworkManager-Status"] == "online"
            assert answer.read().decode() == CHECK_TEXT
        server.hotel = True
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.build_opener(NoRedirect).open(request, timeout=10)
        assert (caught.value.code, caught.value.headers["Location"]) == (302, HOTEL)
        assert server.requests == [(CHECK_HOST, CHECK_PATH)] * 2
    finally:
        server.stop()
