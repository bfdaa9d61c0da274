"""An HTTP service that knows the users."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from socks6.errors import AuthenticationBusy, ConfigurationError
from socks6.policy.identity import Identity
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.external import ExternalSettings
from socks6.proxy.authentication.http_service import AuthUrl, UrlAuthenticator, read_roots
from socks6.telemetry import AuthenticatorDown, EventHub
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder

RIGHT: Final = UsernamePasswordCredentials(username=b"alice", password=b"secret")
ALICE: Final = Identity(name="alice")


def response(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def reasons(recorder: Recorder) -> list[str]:
    return [event.reason for event in recorder.of(AuthenticatorDown)]


class Service:
    """Answers every request with the same bytes, or with none."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())  # type: ignore[arg-type]  # there is one
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            if self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
                writer.close()
            await reader.read()
        writer.transport.abort()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def service(answer: bytes | None, context: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    it = Service(answer)
    async with await asyncio.start_server(it.serve, "127.0.0.1", 0, ssl=context) as server:
        it.port = server.sockets[0].getsockname()[1]
        yield it
        server.close()
        await asyncio.sleep(0.05 if context else 0)  # for what was not even a connection
        for _ in range(5):  # in which one that was accepted last has its task
            await asyncio.sleep(0)
        await asyncio.gather(*it.tasks)


def asking(url: str, *, ca: str | None = None, timeout: float = 5.0) -> tuple[UrlAuthenticator, Recorder]:
    authenticator = UrlAuthenticator(AuthUrl.parse(url), ExternalSettings(timeout=timeout), ca_file=ca)
    recorder = Recorder()
    authenticator.report_to(EventHub([recorder]))
    return authenticator, recorder


def test_a_question_is_a_post_of_json(run: Run) -> None:
    async def ask() -> None:
        answer = response(b'{"ok": true, "limits": {"connections": 3}}', headers="X: 1\r\n")
        async with service(b"HTTP/1.1 100 Continue\r\n\r\n" + answer) as it:
            authenticator, recorder = asking(f"http://proxy:s%40cret@127.0.0.1:{it.port}/check?realm=a")
            identity = await authenticator.verify(RIGHT, "192.0.2.1")
            assert identity == ALICE
            assert identity is not None
            assert identity.limits.connections == 3
            head, _, body = it.requests[0].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /check?realm=a HTTP/1.1\r\n")
            lines = head.lower().splitlines()
            assert f"host: 127.0.0.1:{it.port}".encode() in lines
            assert b"content-type: application/json" in lines
            assert b"Basic cHJveHk6c0BjcmV0" in head
            assert json.loads(body) == {"name": "alice", "password": "secret", "source": "192.0.2.1"}
            assert await authenticator.verify(RIGHT, "192.0.2.1") == ALICE
            assert len(it.requests) == 1  # remembered
            assert not reasons(recorder)

    run(ask())


@pytest.mark.parametrize(
    "answer",
    [
        response(b'{"ok": false}'),
        response(b"go away", status="401 Unauthorized"),
        response(b"", status="403 Forbidden"),
    ],
)
def test_refusals(run: Run, answer: bytes) -> None:
    async def ask() -> None:
        async with service(answer) as it:
            authenticator, recorder = asking(f"http://127.0.0.1:{it.port}")
            assert await authenticator.verify(RIGHT) is None
            assert not reasons(recorder)

    run(ask())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "no answer: within 0.2 s"),
        (b"", "it cannot be reached: closed without a response"),
        (response(b"oops", status="500 Oops"), "an unexpected status: 500"),
        (response(b"", status="204 No Content"), "an unexpected status: 204"),
        (response(b"", status="302 Found", headers="Location: /in\r\n"), "an unexpected status: 302"),
        (response(b"<html>welcome"), "no valid answer: not JSON"),
        (response(b"[true]"), "no valid answer: no object of JSON"),
        (response(b"{}"), "no valid answer: ok is neither true nor false"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no valid answer: no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "no valid answer: no HTTP"),
        (response(b" " * 70_000), "no valid answer: more than 65536 bytes"),
    ],
    ids=range(11),
)
def test_whatever_else_comes_lets_nobody_in(run: Run, answer: bytes | None, reason: str) -> None:
    async def ask() -> None:
        async with service(answer) as it:
            authenticator, recorder = asking(
                f"http://127.0.0.1:{it.port}", timeout=0.2 if answer is None else 5
            )
            for _ in range(2):
                with pytest.raises(AuthenticationBusy):
                    await authenticator.verify(RIGHT)
            assert [told[: len(reason)] for told in reasons(recorder)] == [reason]
            assert len(it.requests) == 2

    run(ask())


def test_nobody_there(run: Run) -> None:
    async def ask() -> None:
        async with service(b"") as it:
            pass
        authenticator, recorder = asking(f"http://127.0.0.1:{it.port}")
        with pytest.raises(AuthenticationBusy):
            await authenticator.verify(RIGHT)
        assert reasons(recorder)[0].startswith("it cannot be reached: ")

    run(ask())


def test_over_https_the_certificate_is_checked(run: Run, tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)

    async def ask() -> None:
        async with service(response(b'{"ok": true}'), context) as it:
            authenticator, recorder = asking(f"https://localhost:{it.port}", ca=files.ca)
            assert await authenticator.verify(RIGHT) == ALICE
            authenticator, recorder = asking(f"https://localhost:{it.port}")
            with pytest.raises(AuthenticationBusy):
                await authenticator.verify(RIGHT)
            assert "certificate" in reasons(recorder)[0]
            assert len(it.requests) == 1

    run(ask())


def test_urls() -> None:
    url = AuthUrl.parse("https://u:secret@auth.example/a?b=c")
    assert (url.host, url.port, url.target) == ("auth.example", 443, "/a?b=c")
    assert "secret" not in repr(url)
    assert (AuthUrl.parse("http://[::1]:8080").host, AuthUrl.parse("http://h").target) == ("::1", "/")
    assert AuthUrl.parse("http://u@h").authorization == "Basic dTo="


@pytest.mark.parametrize(
    "text",
    ["auth.example", "ftp://h", "http://", "http://h:99999/", "http://h/a b", "http://h/#x", "http://h/ü"],
)
def test_no_urls(text: str) -> None:
    with pytest.raises(ConfigurationError):
        AuthUrl.parse(text)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://auth.example", True),
        ("https://auth.example", False),
        ("http://127.0.0.1:80", False),
        ("http://[::1]/", False),
        ("http://localhost", False),
    ],
)
def test_passwords_in_the_clear_are_warned_of(url: str, warned: bool) -> None:
    assert bool(AuthUrl.parse(url).warnings) is warned


def test_files_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name in ("empty", "missing"):
        with pytest.raises(ConfigurationError, match=name):
            read_roots(str(tmp_path / name))
