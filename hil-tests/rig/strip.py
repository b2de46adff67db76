"""Reads the test pattern's timecode strip; the format is described in docs/device/test-pattern.md."""

from dataclasses import dataclass

CELLS = 70
COUNTER_BITS = 20
COUNTER_MODULUS = 1 << COUNTER_BITS


def cell_side(width: int) -> int:
    """The side of a cell in pixels, for a picture of this width."""
    return max(4, width // 72 // 2 * 2)


@dataclass(frozen=True)
class Timecode:
    """What one frame says of itself."""

    made_at_ms: int
    counter: int


def checksum(value: int, bits: int) -> int:
    """Exclusive or of the two-bit groups of a value."""
    total = 0
    for shift in range(0, bits, 2):
        total ^= value >> shift & 3
    return total


def read_row(row: bytes, side: int) -> Timecode | None:
    """Decode one row of luma through the middle of the cells; none when it is no strip."""
    value = 0
    samples = row[side // 2 : CELLS * side : side]
    if len(samples) != CELLS:
        return None
    for sample in samples:
        value = value << 1 | (sample > 128)
    start, payload = value >> 68, value >> 6 & (1 << 62) - 1
    checks, end = value >> 2 & 15, value & 3
    expected = checksum(payload, 62)
    if start != 0b10 or end != 0b01 or checks != expected << 2 | expected:
        return None
    return Timecode(payload >> COUNTER_BITS, payload & COUNTER_MODULUS - 1)


def draw_row(code: Timecode, side: int, width: int) -> bytes:
    """One row of luma that carries a timecode; the reader's test needs it."""
    payload = code.made_at_ms << COUNTER_BITS | code.counter
    check = checksum(payload, 62)
    value = 0b10 << 68 | payload << 6 | (check << 2 | check) << 2 | 0b01
    cells = (235 if value >> shift & 1 else 16 for shift in range(CELLS - 1, -1, -1))
    row = b"".join(bytes([luma]) * side for luma in cells)
    return row.ljust(width, b"\x10")[:width]
