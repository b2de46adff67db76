"""A WebSocket client (RFC 6455) small enough to misbehave on purpose."""

import base64
import os
import socket
import struct
from http.client import HTTPMessage, parse_headers

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The server did not open a WebSocket."""


class WebSocket:
    """One connection; sends whatever it is told to."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=10)
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        self._stream = self._socket.makefile("rb")
        status = self._stream.readline().decode()
        self.headers: HTTPMessage = parse_headers(self._stream)
        if " 101 " not in status:
            raise Refused(status)

    def send(self, payload: bytes, kind: int = TEXT) -> None:
        """One masked frame."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | kind, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._socket.sendall(head + mask + masked)

    def send_raw(self, data: bytes) -> None:
        """Bytes that need not be frames."""
        self._socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """The next frame that is no ping; kind 0 when the connection ended without a word."""
        while True:
            try:
                head = self._stream.read(2)
                if len(head) < 2:
                    return 0, b""
                size = head[1] & 127
                if size > 125:
                    size = int.from_bytes(self._stream.read(2 if size == 126 else 8), "big")
                payload = self._stream.read(size)
            except ConnectionError:
                return 0, b""
            if head[0] & 15 not in (PING, PONG):
                return head[0] & 15, payload

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()
