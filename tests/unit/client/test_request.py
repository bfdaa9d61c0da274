"""One request and its answers: every way that a proxy may answer."""

import pytest

from socks6.errors import (
    AuthenticationFailed,
    ConnectionRefused,
    OperationFailed,
    ProxyUnreachable,
    RemoteProtocolError,
    TtlExpired,
    VersionMismatch,
    operation_failure,
)
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.proxied import proxied, scripted


@pytest.mark.parametrize("code", range(1, 12))
def test_every_reply_code_has_its_exception(run: Run, code: int) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(operation_failure(code, "")))) as client:
            with pytest.raises(OperationFailed) as caught:
                await client.connect("example.com", 80)
            assert caught.value.code == code
            assert type(caught.value) is type(operation_failure(code, ""))

    run(scene())


@pytest.mark.parametrize(
    ("address", "reporter"),
    [
        ("01 0a000101", "10.0.1.1"),
        ("04 fd000001000000000000000000000001", "fd00:1::1"),
        ("01 00000000", None),
        ("04 00000000000000000000000000000000", None),
        ("03 03 616200", None),
    ],
)
def test_reply_06_tells_the_router(run: Run, address: str, reporter: str | None) -> None:
    async def scene() -> None:
        replies = bytes.fromhex(f"06 00 0000  06 06 0000 0000 00 {address}")
        async with scripted(replies) as client:
            with pytest.raises(TtlExpired) as caught:
                await client.connect("a.example", 22)
            assert caught.value.reporter == reporter
            assert (f" at {reporter}" in caught.value.reason) is (reporter is not None)

    run(scene())


def test_other_failures_tell_no_router(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 0000  06 04 0000 0000 00 01 0a000101")) as client:
            with pytest.raises(OperationFailed, match=r"host unreachable$"):
                await client.connect("a.example", 22)

    run(scene())


def test_a_reply_code_is_the_matching_os_error(run: Run) -> None:
    async def scene() -> None:
        async with proxied(ServerWorker(outbound=ScriptedOutbound(ConnectionRefused("")))) as client:
            with pytest.raises(ConnectionRefusedError):
                await client.connect("example.com", 80)

    run(scene())


def test_no_acceptable_method_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 01 0008 0003 0008 ff 000000")) as client:
            with pytest.raises(AuthenticationFailed, match="no acceptable method"):
                await client.noop()

    run(scene())


def test_a_proxy_of_another_version_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(b"\x05") as client:
            with pytest.raises(VersionMismatch):
                await client.noop()
        async with scripted(b"\x06") as client:
            with pytest.raises(VersionMismatch, match="version 6"):
                await client.noop()

    run(scene())


def test_a_proxy_that_talks_rubbish_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 ffff")) as client:
            with pytest.raises(RemoteProtocolError):
                await client.noop()

    run(scene())


def test_a_proxy_that_goes_away_is_told(run: Run) -> None:
    async def scene() -> None:
        async with scripted(bytes.fromhex("06 00 0000")) as client:
            with pytest.raises(ProxyUnreachable, match="operation reply"):
                await client.noop()

    run(scene())


def test_what_follows_the_replies_stays_in_the_stream(run: Run) -> None:
    async def scene() -> None:
        replies = bytes.fromhex("06 00 0000  06 00 0000 1267 00 01 c0000201")
        async with scripted(replies + b"hello") as client, await client.connect("a.example", 22) as stream:
            assert await stream.receive() == b"hello"

    run(scene())
