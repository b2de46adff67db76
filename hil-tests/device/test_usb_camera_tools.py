"""What the made-up camera says over the redirection of USB; needs no device."""

import io
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rig.vm.usb_camera import COMMIT, GET_CURRENT, HEIGHT, NEGOTIATION, SET_CURRENT, STREAMING, WIDTH, UsbCamera, scene
from rig.vm.usb_redirection import BULK, CANCELLED, CAPABILITIES, CONTROL, HEADER, SHORT_HEADER, STALL, SUCCESS, Kind

pytestmark = pytest.mark.tools

TO_DEVICE, TO_HOST, CLASS_TO_DEVICE, CLASS_TO_HOST = 0x00, 0x80, 0x21, 0xA1


class Qemu:
    """The other end of the line, as QEMU is."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line.makefile("rwb")
        self.kinds = []
        kind, length, _ = SHORT_HEADER.unpack(self._line.read(SHORT_HEADER.size))
        assert (kind, self._line.read(length)[64:]) == (Kind.HELLO, struct.pack("<I", CAPABILITIES))
        self._write(SHORT_HEADER.pack(Kind.HELLO, 68, 0) + struct.pack("<64sI", b"qemu", CAPABILITIES))

    def _write(self, data: bytes) -> None:
        self._line.write(data)
        self._line.flush()

    def send(self, kind: Kind, body: bytes, number: int) -> None:
        """One message."""
        self._write(HEADER.pack(kind, len(body), number) + body)

    def receive(self) -> tuple[int, int, bytes]:
        """Kind, number and body of the next message."""
        kind, length, number = HEADER.unpack(self._line.read(HEADER.size))
        return kind, number, self._line.read(length)

    def control(self, kind: int, request: int, value: int, index: int, more: int | bytes) -> tuple[int, bytes]:
        """Status and data of the answer; `more` is how much is wanted, or what is sent."""
        length, data = (more, b"") if isinstance(more, int) else (len(more), more)
        self.send(Kind.CONTROL, CONTROL.pack(kind & 0x80, request, kind, 0, value, index, length) + data, 7)
        told, number, body = self.receive()
        assert (told, number) == (Kind.CONTROL, 7)
        return body[3], body[CONTROL.size :]

    def want(self, number: int, size: int = 16384) -> None:
        """Ask the bulk endpoint for data."""
        self.send(Kind.BULK, BULK.pack(0x81, 0, size, 0, 0), number)

    def data(self) -> tuple[int, int, bytes]:
        """Number, status and data of the next answer from the bulk endpoint."""
        kind, number, body = self.receive()
        assert kind == Kind.BULK
        return number, body[1], body[BULK.size :]


@pytest.fixture
def camera(tmp_path: Path) -> UsbCamera:
    return UsbCamera(tmp_path / "usb.log")


@pytest.fixture
def qemu(camera: UsbCamera) -> Iterator[Qemu]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    camera.attach(ours)
    yield Qemu(theirs)
    theirs.shutdown(socket.SHUT_RDWR)


def test_it_is_plugged_in_and_out(camera: UsbCamera, qemu: Qemu):
    camera.plug()
    kinds = [Kind.INTERFACE_INFO, Kind.ENDPOINT_INFO, Kind.DEVICE_CONNECT]
    assert [qemu.receive()[0] for _ in kinds] == kinds
    camera.unplug()
    assert qemu.receive()[0] == Kind.DEVICE_DISCONNECT


def test_its_descriptors_are_as_long_as_they_say(camera: UsbCamera, qemu: Qemu):
    status, device = qemu.control(TO_HOST, 6, 0x0100, 0, 64)
    assert (status, device[0], len(device)) == (SUCCESS, 18, 18)
    _, start = qemu.control(TO_HOST, 6, 0x0200, 0, 9)
    (total,) = struct.unpack_from("<H", start, 2)
    _, whole = qemu.control(TO_HOST, 6, 0x0200, 0, 1024)
    at, kinds = 0, []
    while at < len(whole):
        kinds.append(whole[at + 1])
        assert whole[at] >= 2
        at += whole[at]
    assert (len(start), len(whole), at) == (9, total, total)
    assert kinds == [2, 11, 4, 0x24, 0x24, 0x24, 4, 0x24, 0x24, 0x24, 0x24, 5]
    assert qemu.control(TO_HOST, 6, 0x0302, 0x0409, 255)[1][2:].decode("utf-16-le") == "Made-up camera"
    assert qemu.control(TO_HOST, 6, 0x0600, 0, 10)[0] == STALL


def test_a_rate_is_negotiated_and_a_picture_comes_whole(camera: UsbCamera, qemu: Qemu):
    wanted = NEGOTIATION.pack(1, 1, 1, 1_900_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert qemu.control(CLASS_TO_DEVICE, SET_CURRENT, COMMIT << 8, STREAMING, wanted)[0] == SUCCESS
    status, told = qemu.control(CLASS_TO_HOST, GET_CURRENT, COMMIT << 8, STREAMING, 34)
    assert (status, NEGOTIATION.unpack(told)[3]) == (SUCCESS, 2_000_000)
    picture, toggles = b"", set()
    for number in range(1, 100):
        qemu.want(number)
        answered, status, data = qemu.data()
        assert (answered, status, data[0]) == (number, SUCCESS, 2)
        picture += data[2:]
        toggles.add(data[1] & 1)
        if data[1] & 2:
            break
    assert picture == camera.picture
    assert len(toggles) == 1 and camera.frames == 1


def test_a_request_that_is_taken_back_is_answered_once(camera: UsbCamera, qemu: Qemu):
    camera._due = time.monotonic() + 60
    qemu.want(5)
    qemu.want(6)
    for number in (6, 5):
        qemu.send(Kind.CANCEL, b"", number)
        assert qemu.data() == (number, CANCELLED, b"")


def test_a_scene_is_a_picture_of_the_cameras_size():
    picture = Image.open(io.BytesIO(scene("WIFI:S:a;;")))
    assert (picture.format, picture.size) == ("JPEG", (WIDTH, HEIGHT))
