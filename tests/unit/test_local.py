"""A proxy for the time of a block: who may use it, what its environment says, that it ends."""

import asyncio
import base64
import os

import pytest

from socks6.client.client import Client
from socks6.local import LocalProxy, local_proxy
from socks6.net.stream import ByteStream
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.session_proxy import SessionProxy


async def tried(proxy: LocalProxy, password: str) -> bytes:
    """Return how the local proxy answers a CONNECT."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    token = base64.b64encode(f"{proxy.username}:{password}".encode()).decode()
    writer.write(
        f"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com\r\nProxy-Authorization: Basic {token}\r\n\r\n".encode()
    )
    answer = await reader.readline()
    writer.close()
    return answer


def test_it_goes_through_the_client_for_those_who_have_the_password(run: Run) -> None:
    async def main() -> None:
        far = SessionProxy(grants=False)
        async with asyncio.TaskGroup() as serving:

            async def dial() -> ByteStream:
                ours, theirs = memory_stream_pair()
                serving.create_task(far.serve(theirs))
                return ours

            client = Client("socks6://alice:secret@far.example", dial=dial)
            async with local_proxy(client) as proxy:
                assert (await tried(proxy, "wrong")).startswith(b"HTTP/1.1 407")
                assert not far.asked
                assert (await tried(proxy, proxy.password)).startswith(b"HTTP/1.1 200")
                assert far.asked[0].host == "example.com"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(proxy.host, proxy.port)

    run(main())


def test_each_has_a_password_of_its_own_and_does_not_show_it(run: Run) -> None:
    async def main() -> None:
        async with local_proxy("socks6://far.example") as one, local_proxy("socks6://far.example") as other:
            assert one.password != other.password
            assert len(one.password) == 32
            assert one.password not in repr(one)

    run(main())


def test_the_environment_has_what_programs_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "stays")
    monkeypatch.setenv("https_proxy", "http://other.example")
    environment = LocalProxy(port=1234, password="pw").environment
    assert environment["HTTP_PROXY"] == environment["https_proxy"] == "http://local:pw@127.0.0.1:1234"
    assert environment["HTTPS_PROXY"] == environment["http_proxy"] == environment["all_proxy"]
    assert environment["all_proxy"] == "http://local:pw@127.0.0.1:1234"
    assert environment["ALL_PROXY"] == "socks5h://local:pw@127.0.0.1:1234"
    assert environment["MINE"] == "stays"
    assert os.environ["https_proxy"] == "http://other.example"
