"""A name server's questions and answers, as bytes (RFC 1035): what a phone's resolver sends and reads.

Owns the two formats, for the records that the tests ask for. Sends nothing itself.
"""

import ipaddress
import struct
from dataclasses import dataclass

TYPES = {"A": 1, "AAAA": 28}
POINTER = 0xC0
NO_ERROR, NO_SUCH_NAME, REFUSED = 0, 3, 5


@dataclass(frozen=True)
class DnsAnswer:
    """What a name server said: how it went, the addresses, and for how long they are kept."""

    code: int
    addresses: list[str]
    ttl_s: int | None
    # Whether it is a whole answer for the question that was asked.
    authoritative: bool = False


class NotAnAnswer(ValueError):
    """The bytes are no answer to the question."""


def question(name: str, kind: str, number: int) -> bytes:
    """A query for a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, TYPES[kind], 1)


def read(data: bytes, number: int) -> DnsAnswer:
    """The answer to the query of this number."""
    try:
        found, flags, questions, answers = struct.unpack_from(">HHHH", data)
        if found != number or not flags & 0x8000:
            raise NotAnAnswer(f"another message: {data.hex()}")
        at = 12
        for _ in range(questions):
            at = _behind_name(data, at) + 4
        addresses, ttl_s = [], None
        for _ in range(answers):
            at = _behind_name(data, at)
            kind, _class, ttl, size = struct.unpack_from(">HHIH", data, at)
            at += 10
            if kind in TYPES.values():
                addresses.append(str(ipaddress.ip_address(data[at : at + size])))
                ttl_s = ttl
            at += size
    except NotAnAnswer:
        raise
    except (struct.error, IndexError, ValueError) as error:
        raise NotAnAnswer(f"cut off: {data.hex()}") from error
    return DnsAnswer(flags & 0xF, addresses, ttl_s, bool(flags & 0x0400))


def _behind_name(data: bytes, at: int) -> int:
    """Where a name ends that begins here."""
    while data[at]:
        if data[at] & POINTER == POINTER:
            return at + 2
        at += 1 + data[at]
    return at + 1
