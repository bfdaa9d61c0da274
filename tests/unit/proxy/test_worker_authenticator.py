"""An authenticator that fails costs its clients a reply 01, and nobody a penalty."""

import base64

import pytest
from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import GeneralFailure
from socks6.message.userpass import UsernamePassword
from socks6.net.transports.tcp import connect_tcp
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Ending, SourcePenalized, UnexpectedError
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder

TIMES = 30  # more than wrong passwords may come


class Down(Authenticator):
    """Asks a database that is not there."""

    required = True

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        raise ConnectionRefusedError(111, "no database")


def test_a_failing_authenticator_is_the_proxys_fault_and_nobodys_password(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        async with Server(
            ["mixed://127.0.0.1:0"], ServerWorker(authenticator=Down(), observers=[log])
        ) as server:
            place = server.urls[0].rpartition("/")[2]
            async with Client(f"socks6://alice:s3cret@{place}") as client:
                for _ in range(TIMES):
                    with pytest.raises(GeneralFailure, match="replied 01"):
                        await client.noop()
        assert log.of(UnexpectedError)[0].error.args == (111, "no database")
        assert {(event.ending, event.reason) for event in log.summaries} == {
            (Ending.FAILED, "the authenticator failed")
        }
        assert log.of(SourcePenalized) == []

    run(scene())


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\5\1\2" + UsernamePassword(username=b"a", password=b"b").encode(), b"\5\2\1\2"),
        (
            b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic "
            + base64.b64encode(b"a:b")
            + b"\r\n\r\n",
            b"HTTP/1.1 503 ",
        ),
    ],
)
def test_other_protocols_say_it_in_their_words(run: Run, said: bytes, answer: bytes) -> None:
    async def scene() -> None:
        async with Server(["mixed://127.0.0.1:0"], ServerWorker(authenticator=Down())) as server:
            port = int(server.urls[0].rpartition(":")[2])
            stream = await connect_tcp("127.0.0.1", port)
            await stream.send(said)
            got = b""
            while len(got) < len(answer) and (piece := await stream.receive()):
                got += piece
            assert got.startswith(answer)
            await stream.aclose()

    run(scene())
