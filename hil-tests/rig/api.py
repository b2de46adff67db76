"""The relay's REST API and pages, as a program uses them. Standard library only."""

import http
import http.client
import json
import time
import urllib.parse
from http.cookies import SimpleCookie


class ApiError(Exception):
    """The relay refused; says what was asked and what it answered."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path}: HTTP {status}: {body[:400]}")
        self.status = status
        self.body = body


class Api:
    """A logged-in user of one relay."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._token = ""
        self._user: dict[str, str] | None = None

    @property
    def base(self) -> str:
        """The relay's address."""
        return f"http://{self.host}:{self.port}"

    def call(self, method: str, path: str, body: object = None) -> object:
        """One request; answers JSON, or none for an empty body."""
        sent = None if body is None else json.dumps(body)
        status, text = self.raw(method, path, sent)
        if status == http.HTTPStatus.UNAUTHORIZED and self._token and self._user:
            # An access token lasts an hour; a long test lasts longer.
            self.log_in(**self._user)
            status, text = self.raw(method, path, sent)
        if not 200 <= status < 300:
            raise ApiError(method, path, status, text)
        return json.loads(text) if text else None

    def raw(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> tuple[int, str]:
        """One request as it is; answers the status and the body, whatever they are."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=15)
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

    def get(self, path: str):
        """GET, as JSON."""
        return self.call("GET", path)

    def post(self, path: str, body: object = None):
        """POST, as JSON."""
        return self.call("POST", path, body if body is not None else {})

    def log_in(self, email: str, password: str) -> None:
        """From now on every request is this user's."""
        self._token = ""
        self._user = {"email": email, "password": password}
        self._token = self.post("/api/auth/login", self._user)["access_token"]


class PageTimes:
    """Times of pages over one kept-alive connection, logged in by the form as a browser is."""

    def __init__(self, host: str, port: int, email: str, password: str) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=15)
        self._cookies: dict[str, str] = {}
        form = self._get("/login")[1]
        fields = {"email": email, "password": password, **hidden_fields(form)}
        self._send("POST", "/login", urllib.parse.urlencode(fields))

    def _send(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode(errors="replace")
        for value in answer.headers.get_all("Set-Cookie") or []:
            self._cookies.update({name: morsel.value for name, morsel in SimpleCookie(value).items()})
        return answer.status, text

    def _get(self, path: str) -> tuple[int, str]:
        return self._send("GET", path)

    def measure(self, path: str, times: int = 20) -> list[float]:
        """Sorted times of a page in milliseconds, request to last byte; the page must be there."""
        taken = []
        for _ in range(times):
            begin = time.perf_counter()
            status, text = self._get(path)
            taken.append((time.perf_counter() - begin) * 1000)
            if status != 200:
                raise ApiError("GET", path, status, text)
        return sorted(taken)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    found = {}
    for part in page.split("<input")[1:]:
        tag = part.split(">")[0]
        attributes = dict(
            (name.strip(), value) for name, _, value in (piece.partition('="') for piece in tag.split('" ')) if value
        )
        if attributes.get("type", "").strip('"') == "hidden":
            found[attributes["name"].strip('"')] = attributes.get("value", "").strip('"/ ')
    return found
