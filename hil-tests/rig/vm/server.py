"""A web server for bundles, with byte ranges as RAUC asks for them, a count of what was fetched, and faults on demand.

Owns one folder's files over HTTP/1.1 on loopback. Knows nothing of what is in them.
"""

import re
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

CHUNK = 64 * 1024
RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@dataclass
class Fault:
    """What goes wrong with a file; the defaults are no fault."""

    # The server is gone after so many bytes of it: connections are cut, new ones are refused.
    vanish_after: int | None = None
    # Bytes a second and connection; so that there is a middle to cut.
    bytes_per_s: int | None = None


@dataclass
class FileServer:
    """Files of a folder at `http://HOST:PORT/NAME`; what is put is written there, too."""

    folder: Path
    host: str
    listen: str = "127.0.0.1"
    faults: dict[str, Fault] = field(default_factory=dict)
    sent: Counter = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = 0
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._pause = threading.Event()

    def start(self) -> "FileServer":
        """Answer; at the same port as before, when there was one."""
        server = self

        class Handler(_Handler):
            files = server

        self._server = _Server((self.listen, self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Gone: connections are cut, new ones refused."""
        with self._ending:
            if self._server:
                self._server.shutdown()
                self._server.server_close()
            self._server = None
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            cut(connection)

    @property
    def runs(self) -> bool:
        """Whether it answers."""
        return self._server is not None

    def url(self, name: str) -> str:
        """A file's address, as the device sees it."""
        return f"http://{self.host}:{self.port}/{name}"

    def forget_counts(self) -> None:
        """Count from zero."""
        with self._lock:
            self.sent.clear()
            self.requests.clear()

    # --- for the handler --------------------------------------------------------------------------------------------

    def opened(self, connection: socket.socket) -> None:
        """A connection begins."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """A connection is over."""
        with self._lock:
            self._open.discard(connection)

    def asked(self, line: str) -> None:
        """A request came."""
        with self._lock:
            self.requests.append(line)

    def may_send(self, name: str, count: int) -> int:
        """How many of the next bytes of a file are sent before the fault; counts them."""
        fault = self.faults.get(name, Fault())
        with self._lock:
            if fault.vanish_after is not None:
                count = min(count, max(0, fault.vanish_after - self.sent[name]))
            self.sent[name] += count
        if fault.bytes_per_s:
            self._pause.wait(count / fault.bytes_per_s)
        return count

    def vanish(self) -> None:
        """From a handler's thread, which cannot wait for itself to end."""
        threading.Thread(target=self.stop, daemon=True).start()


def cut(connection: socket.socket) -> None:
    """End a connection without a word."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def handle_error(self, request: object, client_address: object) -> None:
        """A device whose power is cut ends its connections so; nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def setup(self) -> None:
        super().setup()
        self.files.opened(self.connection)

    def finish(self) -> None:
        self.files.closed(self.connection)
        super().finish()

    def log_message(self, *_words: object) -> None:
        """Requests are kept by the server, not printed."""

    @property
    def name(self) -> str:
        """The file that is asked for, without any folder."""
        return Path(unquote(self.path.partition("?")[0])).name

    def do_HEAD(self) -> None:
        """A file's size."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """A file, or one range of it."""
        self._answer(with_body=True)

    def do_PUT(self) -> None:
        """A file from the device."""
        left = int(self.headers.get("Content-Length", 0))
        with (self.files.folder / self.name).open("wb") as file:
            while left and (data := self.rfile.read(min(CHUNK, left))):
                file.write(data)
                left -= len(data)
        self._empty(204)

    def _empty(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, with_body: bool) -> None:
        self.files.asked(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        path = self.files.folder / self.name
        if not path.is_file():
            self._empty(404)
            return
        size = path.stat().st_size
        first, last, asked = 0, size - 1, RANGE.match(self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
            if first >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if with_body:
            self._send(path, first, last - first + 1)

    def _send(self, path: Path, first: int, left: int) -> None:
        with path.open("rb") as file:
            file.seek(first)
            while left:
                data = file.read(min(CHUNK, left))
                allowed = self.files.may_send(self.name, len(data))
                self.wfile.write(data[:allowed])
                if allowed < len(data):
                    self.files.vanish()
                    cut(self.connection)
                    self.close_connection = True
                    return
                left -= len(data)
