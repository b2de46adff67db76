"""The relay for a device that is no process of this machine: over TLS, under an address that the device reaches.

Owns the throw-away certificate, the relay's configuration and the enrolment's host side. The device's side is the
caller's: it has the console.
"""

import http.client
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .. import hls
from ..api import Api
from ..stack import Live, Stack
from ..waiting import wait_for

CERTIFICATE_DAYS = 30


class TlsApi(Api):
    """The relay's REST API over TLS, with its own certificate."""

    def __init__(self, host: str, port: int, authority: Path) -> None:
        super().__init__(host, port)
        self._authority = authority

    @property
    def base(self) -> str:
        """The relay's address."""
        return f"https://{self.host}:{self.port}"

    def raw(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> tuple[int, str]:
        """One request as it is; answers the status and the body, whatever they are."""
        trust = ssl.create_default_context(cafile=str(self._authority))
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=15, context=trust)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, path, body, {**sent, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()


@dataclass
class DeviceStack(Stack):
    """A relay and its admin; the device comes from outside."""

    # The host as the device sees it, and where the host listens for that.
    host: str = "10.0.2.2"
    listen: str = "127.0.0.1"
    device_name: str = "Device under test"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.authority = self.folder / "tls" / "ca.cert.pem"
        self.api = TlsApi(self.listen, self.port, self.authority)

    def _relay_command(self) -> list[str]:
        ports = self.worker_ports
        return [
            *(str(self.programs / "strata-relay"), "serve", "--config", str(self.folder / "relay.toml")),
            *("--data", str(self.data), "--listen", f"{self.listen}:{self.port}", "--run-dir", str(self.run / "relay")),
            *("--log-dir", str(self.folder / "logs"), "--worker-ports", f"{ports[0]}-{ports[-1]}"),
        ]

    @property
    def relay_url(self) -> str:
        """What the device is told."""
        return f"wss://{self.host}:{self.port}"

    def start(self) -> "DeviceStack":
        """The relay, answering, its admin logged in; no device yet."""
        self._make_certificate()
        (self.folder / "relay.toml").write_text(
            f'public_host = "{self.host}"\npublic_url = "https://{self.host}:{self.port}"\n'
            f'worker_listen = "{self.listen}"\n'
            f'tls_cert = "{self.folder}/tls/relay.cert.pem"\ntls_key = "{self.folder}/tls/relay.key.pem"\n'
        )
        self.start_without_device()
        return self

    def _make_certificate(self) -> None:
        """An authority of this run, and the relay's certificate for both of its names."""
        folder = self.authority.parent
        folder.mkdir(parents=True, exist_ok=True)
        names = f"subjectAltName=IP:{self.host},IP:{self.listen},DNS:localhost\n"
        (folder / "relay.ext").write_text(names + "extendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n")
        key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        days = f"-days {CERTIFICATE_DAYS}"
        authority = "-subj /CN=strata-test-relay -addext basicConstraints=critical,CA:TRUE"
        for command in (
            f"{key} -x509 {days} -keyout ca.key.pem -out ca.cert.pem {authority}",
            f"{key} -keyout relay.key.pem -out relay.csr -subj /CN=relay",
            "x509 -req -in relay.csr -CA ca.cert.pem -CAkey ca.key.pem -CAcreateserial -out relay.cert.pem "
            f"{days} -extfile relay.ext",
        ):
            words = ["openssl", *command.split()]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                raise RuntimeError(f"{command}: {done.stderr}")

    # --- the device, as the relay sees it ---------------------------------------------------------------------------

    def new_token(self) -> str:
        """A device's first enrolment token, or another one for the same device."""
        if self.device_id:
            return self.api.post(f"/api/devices/{self.device_id}/token")["token"]
        created = self.api.post("/api/devices", {"name": self.device_name})
        self.device_id = created["id"]
        return created["token"]

    def used_token(self) -> str:
        """A token that another device has used: one that this machine makes up, and that is gone again."""
        token = self.api.post("/api/devices", {"name": "Another device"})["token"]
        self.hand_over_token(token)
        self.write_agent_config(relay_url=f"wss://{self.listen}:{self.port}", extra_ca_file=str(self.authority))
        self.agent.start()
        enrolment = self.device / "enrolment.json"
        self._step("another device uses a token", enrolment.exists, 60, self.agent)
        self.agent.stop()
        return token

    def wait_online(self, limit_s: float = 240) -> dict:
        """Until the device is connected and has told its status; that status."""
        wait_for("the device is online", self.is_online, limit_s, every_s=0.5)
        return wait_for("the device told its status", self.status, limit_s, every_s=0.5)

    def status(self) -> dict:
        """The device's last status, empty before the first."""
        return super().status() or {}

    def command(self, name: str, **body: object) -> dict | None:
        """One of the commands for the device itself: update, rollback, reboot, reset."""
        return self.api.post(f"/api/devices/{self.device_id}/{name}", body)

    def update(self, url: str, version: str, when: str = "now", **more: object) -> dict | None:
        """Ask for an update; `when` is for both steps."""
        schedules = {"install": {"when": when}, "reboot": {"when": when}}
        return self.command("update", bundle_url=url, version=version, **{**schedules, **more})

    def update_status(self) -> dict:
        """The newest update as the relay knows it, empty before the first."""
        return self.status().get("update") or {}

    def go_live_small(self, source: dict, **more: object) -> Live:
        """Ask for a stream that an emulated processor can encode."""
        rates = {"floor_bps": 100_000, "target_bps": 500_000, "ceiling_bps": 800_000}
        settings = {"width": 640, "height": 360, "frame_rate": {"numerator": 10, "denominator": 1}, "bitrate": rates}
        return self.go_live(source, settings=settings, **more)

    def playlist(self, live: Live) -> hls.Playlist:
        """The stream's playlist as a player gets it now."""
        path = live.playlist.removeprefix(self.api.base)
        status, text = self.api.raw("GET", path)
        if status != 200:
            raise hls.PlaylistError(f"the playlist {path}: HTTP {status}")
        return hls.parse(text)
