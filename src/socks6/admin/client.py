"""Asks a running proxy by the Unix socket of its admin interface: what commands such as `socks6 who` do."""

import http.client
import json
import pwd
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from socks6.admin.runtime import ROOTS_FOLDER, live_sockets, runtime_folder
from socks6.admin.settings import PREFIX
from socks6.compat import override
from socks6.errors import Socks6Error

ANSWER_SECONDS: Final = 10.0
EVENT_SECONDS: Final = 60.0  # of silence; the interface says something every 15 s


class AdminFailed(Socks6Error):
    """A proxy cannot be administered, or refuses a request; the words say what to do. `status` is HTTP's, 0 without an answer."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class AdminClient:
    """A client of one proxy. Every call raises AdminFailed."""

    def __init__(self, path: str) -> None:
        """`path` is that of the Unix socket."""
        self.path: Final = path

    def get(self, path: str, **query: str) -> Any:
        """Return what is there."""
        return self._ask("GET", path, query)

    def post(self, path: str, values: Mapping[str, object]) -> Any:
        """Add what the values say; return what came of it."""
        return self._ask("POST", path, {}, values)

    def patch(self, path: str, values: Mapping[str, object]) -> Any:
        """Change what is there; return what came of it."""
        return self._ask("PATCH", path, {}, values)

    def delete(self, path: str, **query: str) -> Any:
        """Remove or end what is there; return what came of it."""
        return self._ask("DELETE", path, query)

    def events(self, kinds: Iterable[str] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield events as they happen: the name of each, and its fields."""
        connection, response = self._send("GET", f"/events?kinds={','.join(kinds)}", EVENT_SECONDS)
        try:
            name = ""
            for line in response:
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    yield name, json.loads(value)
        except (OSError, http.client.HTTPException) as error:
            raise AdminFailed(f"{self.path}: the proxy has ended, or does not answer: {error}") from error
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, query: Mapping[str, str], values: Mapping[str, object] | None = None
    ) -> Any:
        target = f"{quote(path)}?{urlencode(query)}" if query else quote(path)
        connection, response = self._send(
            method, target, ANSWER_SECONDS, None if values is None else json.dumps(values)
        )
        try:
            return json.load(response)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise AdminFailed(f"{self.path}: no answer: {error}") from error
        finally:
            connection.close()

    def _send(
        self, method: str, target: str, seconds: float, body: str | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self.path, seconds)
        try:
            connection.request(method, PREFIX + target, body)
            response = connection.getresponse()
            if response.status >= http.client.BAD_REQUEST:
                raise AdminFailed(_detail_of(response), response.status)
        except AdminFailed:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise AdminFailed(_words_for(self.path, error)) from error
        return connection, response


def find_proxy(path: str | None, environment: Mapping[str, str]) -> AdminClient:
    """Return a client of the proxy at a path; without one, of the only proxy that runs. Raises AdminFailed."""
    if path is not None:
        return AdminClient(path)
    found = live_sockets(environment)
    if not found:
        looked = ", ".join(str(folder) for folder in {runtime_folder(environment), ROOTS_FOLDER} if folder)
        raise AdminFailed(
            f"no proxy that you may administer runs (looked in {looked}): start one with the extra"
            " pysocks6[admin] there, or name its socket on both sides: --admin PATH"
        )
    if len(found) > 1:
        lines = [f"  --admin {one}   {_listeners_of(one)}" for one in found]
        raise AdminFailed("\n".join([f"{len(found)} proxies run; name one:", *lines]))
    return AdminClient(str(found[0]))


def _listeners_of(path: Path) -> str:
    try:
        return " ".join(AdminClient(str(path)).get("/status")["listeners"])
    except AdminFailed as error:
        return str(error)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _detail_of(response: http.client.HTTPResponse) -> str:
    try:
        return str(json.load(response)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the proxy answers {response.status} {response.reason}"


def _words_for(path: str, error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return f"{path}: there is no such socket: start the proxy with --admin {path}"
        case (
            PermissionError() | http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError()
        ):
            return f"{path}: only {_owner_of(path)} and root may administer this proxy"
        case ConnectionRefusedError():
            return f"{path}: no proxy listens there any more"
        case TimeoutError():
            return f"{path}: the proxy does not answer"
        case OSError():
            return f"{path}: {error.strerror or error}"
        case _:
            return f"{path}: what answers is no admin interface"


def _owner_of(path: str) -> str:
    try:
        return pwd.getpwuid(Path(path).stat().st_uid).pw_name
    except (OSError, KeyError):
        return "its user"
