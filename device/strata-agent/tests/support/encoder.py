#!/usr/bin/env python3
"""Stands in for strata-encoder where GStreamer cannot run: speaks its protocol, makes no pictures.

Files that do not exist are a missing source, as with the real one. The links and everything else that it is
told are written to its standard output, which is the stream's log.
"""

import json
import os
import select
import signal
import socket
import sys
import time


def main() -> None:
    if sys.argv[1:] == ["--list"]:
        print("stand-in encoder")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = json.loads(sys.stdin.readline())
    start = config["start"]
    print("started with", json.dumps(config["links"]), flush=True)
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(config["socket"]):
        os.remove(config["socket"])
    listener.bind(config["socket"])
    listener.listen()
    Encoder(config, start, listener).run()


class Encoder:
    def __init__(self, config: dict, start: dict, listener: socket.socket) -> None:
        self.config, self.start, self.listener = config, start, listener
        self.began, self.agent, self.pending = time.time(), None, b""
        self.alone_since = time.monotonic()

    def run(self) -> None:
        due = time.monotonic()
        while True:
            waiting = [self.listener] + ([self.agent] if self.agent else [])
            ready, _, _ = select.select(waiting, [], [], max(0.0, due - time.monotonic()))
            if self.listener in ready:
                self.agent, self.pending = self.listener.accept()[0], b""
                self.say(event="hello", pid=os.getpid(), start=self.start, state="running",
                         started_at_unix_s=int(self.began))
                missing = self.missing(self.start["source"])
                if missing:
                    self.end("source_missing", missing)
            elif self.agent in ready:
                self.read()
            if time.monotonic() >= due:
                due = time.monotonic() + 1
                self.each_second()

    def read(self) -> None:
        try:
            data = self.agent.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.agent, self.alone_since = None, time.monotonic()
            return
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self.command(json.loads(line))

    def command(self, command: dict) -> None:
        print("told", json.dumps(command), flush=True)
        match command["command"]:
            case "stop":
                self.end(command["reason"], command["detail"])
            case "set_bitrate":
                self.start["encoder"]["bitrate"] = command["bitrate"]
            case "set_latency":
                self.start["encoder"]["latency_ms"] = command["latency_ms"]
            case "switch_source":
                missing = self.missing(command["source"])
                if not missing:
                    self.start["source"] = command["source"]
                error = {"reason": "source_missing", "message": missing} if missing else None
                self.say(event="source_switched", source=self.start["source"], error=error)

    def each_second(self) -> None:
        if self.agent is None:
            if time.monotonic() - self.alone_since > self.config["orphan_timeout_s"]:
                sys.exit(0)
            return
        settings = self.start["encoder"]
        link = {"state": "connecting", "rtt_ms": 0, "capacity_bps": 0, "bitrate_bps": 0, "sent_bytes": 0,
                "sent_packets": 0, "lost_packets": 0, "retransmitted_packets": 0, "queue_ms": 0}
        links = [{"id": one["id"], "interface": one["interface"], **link} for one in self.config["links"]]
        encoder = {"state": "running", "element": "none", "codec": "h264", "sustainable_bps": 0, "output_bps": 0,
                   "bitrate_bps": settings["bitrate"]["target_bps"], "width": settings["width"],
                   "height": settings["height"], "frames": 0, "bytes": 1000,
                   "uptime_ms": int(1000 * (time.time() - self.began))}
        self.say(event="stats", stats={"stream_id": self.config["stream_id"], "source": self.start["source"],
                                       "encoder": encoder, "links": links})

    @staticmethod
    def missing(source: dict) -> str | None:
        if source["kind"] == "file" and not os.path.exists(source["path"]):
            return f"there is no file {source['path']}"
        return None

    def end(self, reason: str, detail: str) -> None:
        self.say(event="ended", ended={"stream_id": self.config["stream_id"], "reason": reason, "detail": detail,
                                       "duration_ms": int(1000 * (time.time() - self.began)), "bytes": 1000})
        sys.exit(0)

    def say(self, **event: object) -> None:
        try:
            self.agent.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            self.agent, self.alone_since = None, time.monotonic()


main()
