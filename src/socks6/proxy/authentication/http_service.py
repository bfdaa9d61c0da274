"""An authenticator that is an HTTP service of the operator's: a question is the body of a POST, its answer that of the response.

A connection each, no redirects, no proxy: the password goes where the URL says and nowhere else.
"""

import asyncio
import contextlib
import errno
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.distribution import VERSION
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.external import (
    MAX_ANSWER,
    Answer,
    ExternalAuthenticator,
    ExternalFailure,
    ExternalSettings,
    FailureCause,
    Question,
    Refusal,
    read_answer,
    read_json,
)

PORTS: Final = {"http": 80, "https": 443}
REFUSALS: Final = (401, 403)  # statuses that need no body
READ_SIZE: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthUrl:
    """Where an HTTP service is."""

    scheme: str
    host: str
    port: int
    target: str
    authorization: str = field(default="", repr=False)  # of HTTP Basic, for the service

    @classmethod
    def parse(cls, text: str) -> "AuthUrl":
        """Read a URL of http or https; a user and password in it are for the service. Raises ConfigurationError."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"no URL: {error}") from None
        if parts.scheme not in PORTS or not parts.hostname:
            raise ConfigurationError("no URL of the form http://HOST/PATH or https://HOST/PATH")
        if not text.isascii() or not text.isprintable() or " " in text or parts.fragment:
            raise ConfigurationError("a URL with a space, a fragment, or characters beyond ASCII")
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=PORTS[parts.scheme] if port is None else port,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            authorization=_authorization(parts),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its owner should know."""
        local = self.host in {"localhost", "::1"} or self.host.startswith("127.")
        if self.scheme == "https" or local:
            return ()
        return (f"--auth-url: passwords go to {self.host} in the clear; try https",)


class UrlAuthenticator(ExternalAuthenticator):
    """Asks an HTTP service. Over https its certificate is checked, by those in `ca_file`, or else by the system's roots."""

    name = "url"

    def __init__(
        self,
        url: AuthUrl,
        settings: ExternalSettings | None = None,
        *,
        ca_file: str | None = None,
    ) -> None:
        super().__init__((url, ca_file), settings)
        self._url: Final = url
        self._context: Final = read_roots(ca_file) if url.scheme == "https" else None

    @override
    async def ask(self, question: Question, deadline: float) -> Answer:
        body = json.dumps(question).encode()
        try:
            async with self._connect() as (reader, writer):
                status, answer = await self._exchange(body, reader, writer)
        except ssl.SSLCertVerificationError as error:
            raise ExternalFailure(FailureCause.UNREACHABLE, f"certificate: {error.verify_message}") from None
        except OSError as error:
            raise ExternalFailure(FailureCause.UNREACHABLE, error.strerror or str(error)) from None
        except h11.RemoteProtocolError as error:
            raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, f"no HTTP: {error}") from None
        if status in REFUSALS:
            return Refusal.WRONG
        if status != 200:
            raise ExternalFailure(FailureCause.STATUS, str(status))
        return read_answer(read_json(answer), question["name"])

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self._url.host, self._url.port, ssl=self._context)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()  # nothing more is expected of it

    async def _exchange(
        self, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of its response. Raises OSError, h11.RemoteProtocolError, ExternalFailure."""
        http = h11.Connection(h11.CLIENT)
        host = f"[{self._url.host}]" if ":" in self._url.host else self._url.host
        headers = [
            ("Host", f"{host}:{self._url.port}" if self._url.port != PORTS[self._url.scheme] else host),
            ("User-Agent", f"socks6/{VERSION}"),
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if self._url.authorization:
            headers.append(("Authorization", self._url.authorization))
        request = h11.Request(method="POST", target=self._url.target, headers=headers)
        writer.write(
            b"".join(http.send(event) or b"" for event in (request, h11.Data(data=body), h11.EndOfMessage()))
        )
        await writer.drain()
        return await _receive_response(http, reader)


async def _receive_response(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status and the body. Raises OSError, h11.RemoteProtocolError, ExternalFailure."""
    status, body = 0, bytearray()
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                data = await reader.read(READ_SIZE)
                if not data and not status:
                    raise ConnectionResetError(errno.ECONNRESET, "closed without a response")
                http.receive_data(data)
            case h11.Response() as response:
                status = response.status_code
            case h11.Data() as piece:
                body += piece.data
                if len(body) > MAX_ANSWER:
                    raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, f"more than {MAX_ANSWER} bytes")
            case h11.EndOfMessage():
                return status, bytes(body)
            case _:  # such as 100 Continue
                pass


def read_roots(path: str | None) -> ssl.SSLContext:
    """Return a context that trusts the certificates of a file, or the system's. Raises ConfigurationError."""
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(credentials.encode()).decode()}"
