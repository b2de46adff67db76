"""The link emulator's control socket: cuts links, brings them back, tells what they lost."""

import json
import socket
from pathlib import Path


class Emulator:
    """A connection to the emulator of one stream; one JSON object per line, both ways."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(5)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rw", encoding="utf-8")

    def call(self, command: str, **arguments: object) -> dict:
        """Send a command, give its reply."""
        print(json.dumps({"cmd": command, **arguments}), file=self._lines, flush=True)
        reply = json.loads(self._lines.readline())
        if reply.get("reply") == "error":
            raise ValueError(f"the emulator refused {command}: {reply['message']}")
        return reply

    def cut(self, link: int) -> None:
        """The link delivers nothing any more, silently."""
        self.call("cut", link=link)

    def restore(self, link: int) -> None:
        """Ends a cut."""
        self.call("restore", link=link)

    def stats(self) -> list[dict]:
        """The counters of each link."""
        return self.call("stats")["links"]

    def shapes(self) -> list[dict]:
        """The links as they are now."""
        return self.call("list")["links"]

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
