"""Several upstreams of which one dies, or falls silent: behind a converter, and as a client's alternatives."""

import asyncio
import contextlib
import signal
import threading
from typing import Final

import pytest

from socks6 import Client, ProxyCheck, ProxyTimedOut, UpstreamState
from tests.e2e.test_converter_status import eventually, said, status_of
from tests.kit.loops import Run
from tests.kit.origins import echo, silent_place, web_site
from tests.kit.proxies import converter, curl, server
from tests.kit.udp_hosts import udp_echo

pytestmark = pytest.mark.e2e

BROKE: Final = {52, 55, 56}  # curl's codes for a connection that breaks after the proxy has granted it


def state_of_first(status: dict[str, object]) -> str:
    upstreams = status["upstreams"]
    assert isinstance(upstreams, list)
    return str(upstreams[0]["state"])


def test_no_request_is_lost_that_had_not_begun_and_the_first_is_used_again() -> None:
    with contextlib.ExitStack() as first, web_site() as site, server() as spare:
        far = first.enter_context(server(ends_with=-signal.SIGKILL))
        near = first.enter_context(converter(f"{far.url}\n{spare.url}", "--via-check"))
        said(near, f"through {far.url}")
        codes: list[int] = []
        over = threading.Event()

        def load() -> None:
            while not over.is_set():
                codes.append(curl("--socks5-hostname", near.authority, site.url).code)

        loops = [threading.Thread(target=load) for _ in range(2)]
        for loop in loops:
            loop.start()
        try:
            eventually(lambda: "some" if len(codes) > 5 else "")
            far.process.send_signal(signal.SIGKILL)
            after = len(codes)
            eventually(lambda: "more" if len(codes) > after + 10 else "")
            status = status_of(near)
            assert state_of_first(status) == "down"
            assert status["upstream"]["url"] == spare.url
            with server("--listen", far.url):
                eventually(lambda: state_of_first(status_of(near)).replace("down", ""))
                assert status_of(near)["upstream"]["url"] == far.url
                over.set()
                for loop in loops:
                    loop.join()
        finally:
            over.set()
        assert {*codes} - {0} <= BROKE
        assert len(codes) - codes.count(0) <= len(loops)


def test_a_clients_requests_of_every_kind_leave_a_proxy_that_accepts_and_is_silent(run: Run) -> None:
    async def scene(client: Client) -> None:
        async with client:
            for silent in (False, True):
                if silent:
                    first.process.send_signal(signal.SIGSTOP)
                async with asyncio.timeout(5.0):  # the call's own, and a check's, are longer
                    async with await client.connect(host.host, host.port, initial_data=b"there?") as stream:
                        assert await stream.receive() == b"there?"
                        assert stream.remote.port == (second if silent else first).place.port
                    async with await client.bind() as listener:
                        assert listener.bound.port
                    async with client.associate() as association:
                        await association.send(b"there?", (datagrams.host, datagrams.port))
                        assert (await association.receive())[0] == b"there?"
                    assert isinstance(await client.check(), ProxyCheck)
            assert [status.state for status in client.upstreams] == [UpstreamState.UP] * 2
            first.process.send_signal(signal.SIGCONT)

    with server() as first, server() as second, echo() as host, udp_echo() as datagrams:
        run(scene(Client(first.url, alternatives=[second.url])))


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_a_proxy_of_another_protocol_that_is_silent_is_left_and_no_slow_destination_is_blamed_on_it(
    scheme: str,
) -> None:
    """HTTP proxies answer nothing before the destination has; so they are asked for something else."""

    async def scene() -> None:
        async with Client(first.url, alternatives=[second.url]) as client:
            async with await client.connect(host.host, host.port) as stream:
                assert stream.remote.port == first.place.port
            with pytest.raises(ProxyTimedOut):
                await client.connect(silent.host, silent.port, timeout=1.0)
            async with await client.connect(host.host, host.port) as stream:
                assert stream.remote.port == first.place.port
            first.process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(3.0):
                async with await client.connect(host.host, host.port) as stream:
                    assert stream.remote.port == second.place.port
            first.process.send_signal(signal.SIGCONT)

    listen = "--listen", f"{scheme}://127.0.0.1:0"
    with server(*listen) as first, server(*listen) as second, echo() as host, silent_place() as silent:
        asyncio.run(scene())
