"""A USB device that is a program of ours: the messages of QEMU's USB redirection (usbredir 0.7), on a socket.

Owns the messages, and that each request is answered once. What a device says is its subclass's: descriptors, answers to
control requests, data of its one bulk endpoint. Numbers are little-endian.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from enum import IntEnum
from pathlib import Path


class Kind(IntEnum):
    """What a message is."""

    HELLO = 0
    DEVICE_CONNECT = 1
    DEVICE_DISCONNECT = 2
    INTERFACE_INFO = 4
    ENDPOINT_INFO = 5
    SET_CONFIGURATION = 6
    GET_CONFIGURATION = 7
    CONFIGURATION_STATUS = 8
    SET_ALT_SETTING = 9
    GET_ALT_SETTING = 10
    ALT_SETTING_STATUS = 11
    CANCEL = 21
    CONTROL = 100
    BULK = 101


SUCCESS, CANCELLED, STALL = 0, 1, 4
# Sizes of packets and versions in the messages, 64-bit numbers, 32-bit lengths: QEMU's xHCI wants them.
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6
HIGH_SPEED = 2
TYPE_CONTROL, TYPE_BULK, NO_ENDPOINT = 0, 2, 255
ENDPOINTS = INTERFACES = 32
SHORT_HEADER, HEADER = struct.Struct("<III"), struct.Struct("<IIQ")
CONTROL, BULK = struct.Struct("<BBBBHHH"), struct.Struct("<BBHIH")
# USB 2.0, tables 9-3 and 9-4.
TO_HOST = 0x80
STANDARD_IN, STANDARD_OUT = (0x80, 0x81, 0x82), (0x00, 0x01, 0x02)
GET_STATUS, GET_DESCRIPTOR, DEVICE, CONFIGURATION, STRING = 0, 6, 1, 2, 3
PACKET = 512


class UsbDevice:
    """One device with interfaces of one class and one bulk endpoint to the host; it lives as long as its socket."""

    device_class = (0xEF, 2, 1)
    identity = (0x1209, 0x0001, 0x0100)
    # Class, subclass and protocol of each.
    interfaces: tuple[tuple[int, int, int], ...] = ()
    endpoint = 0x81
    endpoint_interface = 0
    strings: tuple[str, ...] = ()

    def __init__(self, log: Path) -> None:
        self._log = log
        self._line: socket.socket | None = None
        self._sending = threading.Lock()
        # Requests for data, by their numbers, and how much each takes at most.
        self._wanted: deque[tuple[int, int]] = deque()
        self._greeted = False

    # --- what a subclass says ---------------------------------------------------------------------------------------

    def configuration(self) -> bytes:
        """The configuration's descriptor with all that belongs to it."""
        raise NotImplementedError

    def class_request(self, request: int, value: int, index: int, data: bytes, wanted: int) -> bytes | None:
        """The answer to a request of the class; None refuses it."""
        raise NotImplementedError

    def next_data(self) -> tuple[bytes | None, float]:
        """What the bulk endpoint has for the host now, or None and after how many seconds to ask again."""
        raise NotImplementedError

    # --- plug -------------------------------------------------------------------------------------------------------

    def attach(self, line: socket.socket) -> None:
        """Talk on this line from now on, until its other end is closed."""
        self._line, self._greeted = line, False
        self._wanted.clear()
        hello = struct.pack("<64sI", b"strata hil-tests", CAPABILITIES)
        with self._sending:
            line.sendall(SHORT_HEADER.pack(Kind.HELLO, len(hello), 0) + hello)
        threading.Thread(target=self._serve, args=[line], name="usb", daemon=True).start()

    def plug(self) -> None:
        """Into the device's socket."""
        self._describe()
        self._send(Kind.DEVICE_CONNECT, struct.pack("<BBBBHHH", HIGH_SPEED, *self.device_class, *self.identity))

    def unplug(self) -> None:
        """Out again."""
        self._send(Kind.DEVICE_DISCONNECT)

    def _describe(self) -> None:
        count = len(self.interfaces)
        columns = [bytes(range(count)), *(bytes(column) for column in zip(*self.interfaces, strict=True))]
        padded = b"".join(column.ljust(INTERFACES, b"\0") for column in columns)
        self._send(Kind.INTERFACE_INFO, struct.pack("<I", count) + padded)
        kinds, owners, sizes = bytearray([NO_ENDPOINT] * ENDPOINTS), bytearray(ENDPOINTS), [0] * ENDPOINTS
        # Those to the host are the upper half.
        kinds[0] = kinds[16] = TYPE_CONTROL
        sizes[0] = sizes[16] = 64
        ours = 16 + (self.endpoint & 0xF)
        kinds[ours], owners[ours], sizes[ours] = TYPE_BULK, self.endpoint_interface, PACKET
        self._send(Kind.ENDPOINT_INFO, bytes(kinds + bytes(ENDPOINTS) + owners) + struct.pack("<32H", *sizes))

    # --- messages ---------------------------------------------------------------------------------------------------

    def _send(self, kind: Kind, body: bytes = b"", number: int = 0) -> None:
        with self._sending:
            self._line.sendall(HEADER.pack(kind, len(body), number) + body)

    def _serve(self, line: socket.socket) -> None:
        pending = b""
        with self._log.open("a", buffering=1) as log, contextlib.suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([line], [], [], self._give())
                if not ready:
                    continue
                part = line.recv(65536)
                if not part:
                    return
                pending += part
                while message := self._cut(pending):
                    kind, number, body, pending = message
                    log.write(f"{time.monotonic():.3f} {kind} {number} {body[:24].hex()}\n")
                    self._answer(kind, number, body)

    def _cut(self, pending: bytes) -> tuple[int, int, bytes, bytes] | None:
        """The first message, and what follows it; the very first one has a short header."""
        header = HEADER if self._greeted else SHORT_HEADER
        if len(pending) < header.size:
            return None
        kind, length, number = header.unpack_from(pending)
        end = header.size + length
        if len(pending) < end:
            return None
        self._greeted = True
        return kind, number, pending[header.size : end], pending[end:]

    def _answer(self, kind: int, number: int, body: bytes) -> None:
        match kind:
            case Kind.CONTROL:
                self._control(number, body)
            case Kind.BULK:
                _, _, low, _, high = BULK.unpack_from(body)
                self._wanted.append((number, high << 16 | low))
            case Kind.CANCEL:
                if waiting := [one for one in self._wanted if one[0] == number]:
                    self._wanted.remove(waiting[0])
                    self._data(number, CANCELLED, b"")
            case Kind.SET_CONFIGURATION | Kind.GET_CONFIGURATION:
                self._describe()
                self._send(Kind.CONFIGURATION_STATUS, bytes([SUCCESS, 1]), number)
            case Kind.SET_ALT_SETTING | Kind.GET_ALT_SETTING:
                self._send(Kind.ALT_SETTING_STATUS, bytes([SUCCESS, body[0], 0]), number)

    def _control(self, number: int, body: bytes) -> None:
        endpoint, request, kind, _, value, index, wanted = CONTROL.unpack_from(body)
        if kind in STANDARD_OUT:
            answer = b""
        elif kind in STANDARD_IN:
            answer = self._standard(request, value)
        else:
            answer = self.class_request(request, value, index, body[CONTROL.size :], wanted)
        status = STALL if answer is None else SUCCESS
        data = (answer or b"")[:wanted]
        length = len(data) if kind & TO_HOST else wanted
        self._send(Kind.CONTROL, CONTROL.pack(endpoint, request, kind, status, value, index, length) + data, number)

    def _standard(self, request: int, value: int) -> bytes | None:
        if request == GET_STATUS:
            return bytes(2)
        if request != GET_DESCRIPTOR:
            return None
        kind, index = divmod(value, 256)
        if kind == DEVICE:
            numbers = (18, DEVICE, 0x0200, *self.device_class, 64, *self.identity, 1, 2, 0, 1)
            return struct.pack("<BBHBBBBHHHBBBB", *numbers)
        if kind == CONFIGURATION:
            return self.configuration()
        if kind == STRING and index <= len(self.strings):
            text = self.strings[index - 1].encode("utf-16-le") if index else b"\x09\x04"
            return bytes([len(text) + 2, STRING]) + text
        return None

    def _data(self, number: int, status: int, data: bytes) -> None:
        size = len(data)
        self._send(Kind.BULK, BULK.pack(self.endpoint, status, size & 0xFFFF, 0, size >> 16) + data, number)

    def _give(self) -> float:
        """Answer requests for data as far as there is some; for how long there is nothing to do."""
        while self._wanted:
            data, wait_s = self.next_data()
            if data is None:
                return wait_s
            number, _ = self._wanted.popleft()
            self._data(number, SUCCESS, data)
        return 60.0
