"""A USB camera, made up: Motion JPEG by the USB Video Class 1.1, of any picture that it is given.

It stands in place of a camera, which this desk can't have. What is real is everything that talks to it: the kernel's
xHCI and uvcvideo drivers, V4L2, GStreamer.

Owns the descriptors, the negotiation of a format, and the way of a picture in payloads. UVC 1.1's sections are named.
"""

import io
import struct
import time
from collections import deque
from pathlib import Path

import segno
from PIL import Image

from .usb_redirection import PACKET, UsbDevice

WIDTH, HEIGHT = 1280, 720
# In 100 ns: 10 and 5 frames a second.
INTERVALS = (1_000_000, 2_000_000)
# A multiple of the endpoint's packets: what is shorter ends a payload.
PAYLOAD = 32 * PACKET
MAX_FRAME = WIDTH * HEIGHT * 2
CONTROL, STREAMING = 0, 1
# Table.
SET_CURRENT, GET_CURRENT, GET_LENGTH, GET_INFO = 0x01, 0x81, 0x85, 0x86
GET_LIMITS = (0x82, 0x83, 0x84, 0x87)
PROBE, COMMIT = 1, 2
# Table 4-75: format, frame, interval and the largest sizes are what matters here.
NEGOTIATION = struct.Struct("<HBBIHHHHHIIIBBBB")
END_OF_HEADER, END_OF_FRAME = 0x80, 0x02


def scene(code: str | None, height: int = 300, degrees: float = 8) -> bytes:
    """What the camera sees, as a JPEG: a room, out of focus and noisy, and perhaps a code on a screen, held askew."""
    spots = bytes(60 + 37 * number % 90 for number in range(16 * 9))
    room = Image.frombytes("L", (16, 9), spots).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    if code is not None:
        drawn = io.BytesIO()
        segno.make(code, micro=False).save(drawn, kind="png", scale=8, border=4)
        screen = Image.open(drawn).convert("L").resize((height, height), Image.Resampling.BILINEAR)
        screen = screen.point(lambda level: 40 + level * 3 // 4)
        mask = Image.new("L", screen.size, 255).rotate(degrees, expand=True)
        held = screen.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
        room.paste(held, ((WIDTH - held.width) // 2, (HEIGHT - held.height) // 2), mask)
    noise = Image.effect_noise(room.size, 12)
    room = Image.blend(room, noise, 0.1)
    jpeg = io.BytesIO()
    # As cameras do it: two chroma samples for four of luma.
    room.convert("RGB").save(jpeg, "JPEG", quality=80, subsampling="4:2:2")
    return jpeg.getvalue()


class UsbCamera(UsbDevice):
    """The camera; it shows one picture until it is given another one."""

    interfaces = ((0x0E, 1, 0), (0x0E, 2, 0))
    endpoint_interface = STREAMING
    strings = ("Strata", "Made-up camera")

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.picture = scene(None)
        # How many were handed over as a whole.
        self.frames = 0
        self._format = self._negotiated(INTERVALS[0])
        self._payloads: deque[bytes] = deque()
        self._due = 0.0

    # --- descriptors (sections 3.6 to 3.10) -------------------------------------------------------------------------

    def configuration(self) -> bytes:
        """Two interfaces that belong together, the second with a bulk endpoint."""
        association = bytes([8, 0x0B, 0, 2, 0x0E, 3, 0, 0])
        camera = struct.pack("<BBBBHBBHHHB3s", 18, 0x24, 2, 1, 0x0201, 0, 0, 0, 0, 0, 3, bytes(3))
        output = struct.pack("<BBBBHBBB", 9, 0x24, 3, 2, 0x0101, 0, 1, 0)
        header = struct.pack("<BBBHHIBB", 13, 0x24, 1, 0x0110, 13 + 18 + 9, 30_000_000, 1, STREAMING)
        control = bytes([9, 4, CONTROL, 0, 0, *self.interfaces[0], 0]) + header + camera + output
        jpeg = bytes([11, 0x24, 6, 1, 1, 1, 1, 0, 0, 0, 0])
        rates = [8 * MAX_FRAME * 10_000_000 // interval for interval in INTERVALS]
        frame = struct.pack("<HHIIIIB", WIDTH, HEIGHT, min(rates), max(rates), MAX_FRAME, INTERVALS[0], len(INTERVALS))
        frame = bytes([26 + 4 * len(INTERVALS), 0x24, 7, 1, 0]) + frame + struct.pack("<2I", *INTERVALS)
        colors = bytes([6, 0x24, 0x0D, 1, 1, 4])
        size = 14 + len(jpeg) + len(frame) + len(colors)
        start = struct.pack("<BBBBHBBBBBBBB", 14, 0x24, 1, 1, size, self.endpoint, 0, 2, 0, 0, 0, 1, 0)
        streaming = bytes([9, 4, STREAMING, 0, 1, *self.interfaces[1], 0]) + start + jpeg + frame + colors
        endpoint = struct.pack("<BBBBHB", 7, 5, self.endpoint, 2, PACKET, 0)
        rest = association + control + streaming + endpoint
        return struct.pack("<BBHBBBBB", 9, 2, 9 + len(rest), 2, 1, 0, 0x80, 250) + rest

    # --- negotiation (section 4.3.1) --------------------------------------------------------------------------------

    @staticmethod
    def _negotiated(interval: int) -> bytes:
        nearest = min(INTERVALS, key=lambda one: abs(one - interval))
        return NEGOTIATION.pack(1, 1, 1, nearest, 0, 0, 0, 0, 0, MAX_FRAME, PAYLOAD, 30_000_000, 0, 0, 0, 0)

    def class_request(self, request: int, value: int, index: int, data: bytes, wanted: int) -> bytes | None:
        """Probe and commit; there is nothing to turn at this camera."""
        selector = value >> 8
        if index & 0xFF != STREAMING or selector not in (PROBE, COMMIT):
            return None
        if request == SET_CURRENT:
            (interval,) = struct.unpack_from("<I", data, 4)
            self._format = self._negotiated(interval)
            if selector == COMMIT:
                self._payloads.clear()
            return b""
        if request == GET_LENGTH:
            return struct.pack("<H", NEGOTIATION.size)
        if request == GET_INFO:
            return b"\x03"
        return self._format[:wanted] if request in (GET_CURRENT, *GET_LIMITS) else None

    # --- pictures (section 2.4.3.2) ---------------------------------------------------------------------------------

    def next_data(self) -> tuple[bytes | None, float]:
        """The next payload of this picture, or of the next one once it is time for it."""
        if not self._payloads:
            now = time.monotonic()
            if now < self._due:
                return None, self._due - now
            interval = NEGOTIATION.unpack(self._format)[3] / 1e7
            self._due = max(self._due + interval, now)
            self._begin_frame(self.picture)
        payload = self._payloads.popleft()
        self.frames += not self._payloads
        return payload, 0.0

    def _begin_frame(self, picture: bytes) -> None:
        odd = self.frames % 2
        room = PAYLOAD - 2
        parts = [picture[at : at + room] for at in range(0, len(picture), room)]
        for number, part in enumerate(parts, start=1):
            last = END_OF_FRAME if number == len(parts) else 0
            self._payloads.append(bytes([2, END_OF_HEADER | last | odd]) + part)
