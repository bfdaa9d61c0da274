"""Other people's proxies as ours: microsocks, dante and tinyproxy behind `Client`, behind a converter, and in chains."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from socks6 import (
    AuthenticationFailed,
    Client,
    ConnectionRefused,
    GeneralFailure,
    HostUnreachable,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
)
from tests.kit.certificates import pin_of_file, write_certificate
from tests.kit.origins import Place, refusing_place, silent_place, tcp_host, web_site
from tests.kit.other_proxies import PASSWORD, dante, microsocks, tinyproxy
from tests.kit.proxies import converter, curl, server
from tests.kit.udp_hosts import udp_echo

pytestmark = pytest.mark.e2e

GREETING: Final = b"220 hello\r\n"
PrivateUrl = Callable[[], AbstractContextManager[str]]


@contextmanager
def greeting_host() -> Iterator[Place]:
    """Run a host that greets at once, and answers with all that it has heard once the client has ended."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        heard = b""
        while data := connection.recv(65536):
            heard += data
            if heard.endswith(b"\n"):
                connection.sendall(b"so far " + heard)
        connection.sendall(b"in all " + heard)

    with tcp_host(serve) as place:
        yield place


@contextmanager
def dante5() -> Iterator[str]:
    with dante() as place:
        yield f"socks5h://127.0.0.1:{place.port}"


@contextmanager
def dante4() -> Iterator[str]:
    with dante() as place:
        yield f"socks4://127.0.0.1:{place.port}"


@pytest.mark.parametrize(
    ("open_proxy", "refused", "unknown"),
    [
        (microsocks, ConnectionRefused, GeneralFailure),
        (dante5, ConnectionRefused, HostUnreachable),
        (dante4, GeneralFailure, HostUnreachable),
        (tinyproxy, GeneralFailure, GeneralFailure),  # 500 for both
    ],
)
def test_each_proxy(
    open_proxy: PrivateUrl, refused: type[OperationFailed], unknown: type[OperationFailed]
) -> None:
    async def scene(url: str, host: Place, closed: Place, silent: Place) -> None:
        async with Client(url, timeout=10) as client:
            assert await client.noop() > 0
            reader, writer = await client.open_connection("localhost", host.port, initial_data=b"first ")
            assert await reader.readline() == GREETING
            writer.write(b"second\n")
            assert await reader.readline() == b"so far first second\n"
            if "dante" in open_proxy.__name__:  # the others end both directions together
                writer.write_eof()
                assert await reader.read() == b"in all first second\n"
            writer.close()
            with pytest.raises(refused):
                await client.connect("127.0.0.1", closed.port)
            with pytest.raises(unknown):
                await client.connect("no-such.invalid", 80)
            with pytest.raises(ProxyTimedOut, match=r"within 0\.2 s"):
                await client.connect("127.0.0.1", silent.port, timeout=0.2)
        if PASSWORD in url:
            async with Client(url.replace(PASSWORD, "wrong")) as stranger:
                with pytest.raises(AuthenticationFailed, match="the password of user alice"):
                    await stranger.connect("localhost", host.port)

    with open_proxy() as url, greeting_host() as host, refusing_place() as closed, silent_place() as silent:
        asyncio.run(scene(url, host, closed, silent))


def test_dantes_bind_and_udp() -> None:
    async def scene(url: str, echo: Place) -> None:
        async with Client(url) as client, client.associate() as udp:
            for name in ("127.0.0.1", "localhost"):
                await udp.send(name.encode(), (name, echo.port))
                assert await udp.receive() == (name.encode(), (echo.host, echo.port))
        for scheme in ("socks5", "socks4"):
            async with Client(url.replace("socks5h", scheme)) as client, await client.bind() as listener:
                for _ in range(2):  # peers, one BIND each
                    accepting = asyncio.create_task(listener.accept(timeout=10))
                    while not accepting.done():
                        try:
                            peer = socket.create_connection(listener.bound)
                            break
                        except ConnectionRefusedError:  # the next BIND is not there yet
                            await asyncio.sleep(0.02)
                    stream = await accepting
                    assert stream.peer == peer.getsockname()
                    await stream.send(b"to the peer")
                    assert await asyncio.to_thread(peer.recv, 100) == b"to the peer"
                    stream.abort()
                    peer.close()

    with dante5() as url, udp_echo() as echo:
        asyncio.run(scene(url, echo))


def test_a_converter_before_them() -> None:
    with dante5() as socks, tinyproxy() as http, web_site() as site, udp_echo() as echo:
        with converter(http, "--via-through", socks) as near:
            assert curl("--proxy", f"http://{near.authority}", "--proxytunnel", site.url).status == 200
        with converter(socks) as near:
            assert curl("--socks5-hostname", near.authority, site.url).status == 200

            async def scene() -> None:
                async with Client(f"socks5://{near.authority}") as client, client.associate() as udp:
                    await udp.send(b"hello", ("localhost", echo.port))
                    assert await udp.receive() == (b"hello", (echo.host, echo.port))

            asyncio.run(scene())


def test_chains(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)

    async def scene(chain: list[str], host: Place) -> None:
        async with Client(chain) as client:
            reader, writer = await client.open_connection("localhost", host.port, initial_data=b"first\n")
            assert await reader.readline() == GREETING
            assert await reader.readline() == b"so far first\n"
            writer.close()
            if chain[-1].startswith("socks6"):
                async with client.associate() as udp:
                    assert udp.path == "stream"

    tls = f"127.0.0.1:0?cert={files.certificate}&key={files.key}"
    with (
        microsocks() as socks,
        tinyproxy() as http,
        server("--listen", f"socks6+tls://{tls}", "--listen", f"http+tls://{tls}", "--allow-private") as ours,
        greeting_host() as host,
    ):
        pin = pin_of_file(files.certificate)
        secure, web = (f"{url.replace('http+tls', 'https')}?pin-sha256={pin}" for url in ours.urls)
        for chain in ([socks, secure], [http, web], [secure, socks], [web, http, socks, secure]):
            asyncio.run(scene(chain, host))
        with pytest.raises(ProxyUnreachable, match=r"through socks5://alice@.*refused"):
            asyncio.run(scene([socks, "socks6://127.0.0.1:1"], host))
