"""A service published with `socks6 bind`: real processes, real clients."""

import contextlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from tests.kit.footprint import eventually, settled
from tests.kit.origins import PAGE, Place, Site, echo, refusing_place, web_site
from tests.kit.processes import socks6
from tests.kit.proxies import ENVIRONMENT, NAMED_PORTS, Proxy, curl, server
from tests.kit.published import published

USER: Final = ("--user", "alice:wonderland")
LOADS: Final = 1000
AT_A_TIME: Final = 50

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Run a proxy for all of these; who authenticates gets a session there, and so a backlog."""
    with server(*USER, "--listen", "socks6://127.0.0.1:0", "--listen", "socks6://[::1]:0") as running:
        yield running


def as_alice(proxy: Proxy) -> str:
    return proxy.as_user("alice", "wonderland")


def at(site: Site) -> Place:
    return Place(host=site.host, port=site.port)


def ab(*arguments: str) -> str:
    """Run ApacheBench; return what it tells."""
    if shutil.which("ab") is None:
        pytest.skip("ab is not installed (apache2-utils)")
    words: Sequence[str] = ["ab", "-q", "-s", "20", *arguments]
    result = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def test_a_published_site_is_loaded_a_thousand_times(proxy: Proxy) -> None:
    with web_site() as site, published(as_alice(proxy), at(site)) as site_there:
        place = site_there.next_place()
        report = ab("-n", str(LOADS), "-c", str(AT_A_TIME), f"http://{place.host}:{place.port}/")
        assert re.search(rf"Complete requests: +{LOADS}\n", report), report
        assert re.search(r"Failed requests: +0\n", report), report
        assert f"Document Length:        {len(PAGE)} bytes" in report
        assert len(site.seen) == LOADS
        assert site_there.said == []


def test_it_goes_on_where_the_proxy_keeps_no_backlog() -> None:
    with server("--no-sessions") as proxy, web_site() as site, published(proxy.url, at(site)) as there:
        place = there.next_place()
        for _ in range(5):
            assert (
                curl("--retry", "5", "--retry-connrefused", f"http://{place.host}:{place.port}/").body == PAGE
            )
        assert "keeps no backlog" in "".join(there.said)


def test_at_an_ipv6_address(proxy: Proxy) -> None:
    with (
        echo("::1") as target,
        published(as_alice(proxy), target, "--listen-on", "[::1]:0") as there,
    ):
        place = there.next_place()
        assert place.host == "::1"
        with place.connected() as sock:
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"


def test_with_a_proxy_that_announces_each_peer() -> None:
    with (
        server(*USER, "--dialect212") as proxy,
        web_site() as site,
        published(as_alice(proxy), at(site), "--dialect212") as there,
    ):
        place = there.next_place()
        report = ab("-n", "100", "-c", "10", f"http://{place.host}:{place.port}/")
        assert re.search(r"Failed requests: +0\n", report), report
        assert there.said == []


def test_through_a_chain(proxy: Proxy) -> None:
    with (
        server(*USER, environment={"SOCKS6_PROXY": as_alice(proxy)}) as near,
        web_site() as site,
        published(as_alice(near), at(site)) as there,
    ):
        place = there.next_place()
        for _ in range(20):
            assert curl(f"http://{place.host}:{place.port}/").body == PAGE
        assert there.said == []  # the backlog goes all the way


def test_a_service_that_is_not_there_is_a_reset(proxy: Proxy) -> None:
    with (
        refusing_place() as nobody,
        published(as_alice(proxy), nobody) as there,
        there.next_place().connected() as sock,
    ):
        with pytest.raises(ConnectionError):
            sock.recv(1)
        assert eventually(lambda: any("service not reached" in line for line in there.said))


def test_it_publishes_again_when_the_proxy_was_restarted() -> None:
    with web_site() as site, contextlib.ExitStack() as ends:
        with server(*USER, *NAMED_PORTS, ends_with=-signal.SIGKILL) as proxy:
            there = ends.enter_context(published(as_alice(proxy), at(site)))
            place = there.next_place()
            assert curl(f"http://{place.host}:{place.port}/").body == PAGE
            proxy.process.kill()
        assert eventually(lambda: any("cannot reach the proxy" in line for line in there.said))
        ends.enter_context(server(*USER, *NAMED_PORTS, "--listen", proxy.url))
        assert eventually(lambda: "socks6: published again\n" in there.said)
        assert curl(f"http://{place.host}:{place.port}/").body == PAGE  # at the same port
        assert there.told.empty()


def test_it_ends_well_and_at_once(proxy: Proxy) -> None:
    with echo() as target, published(as_alice(proxy), target) as there:
        place = there.next_place()
        with place.connected() as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            there.process.send_signal(signal.SIGINT)
            started = time.monotonic()
            assert there.process.wait(10) == 0
            assert time.monotonic() - started < 5
            with pytest.raises(ConnectionError):  # after --drain
                sock.recv(1)
        assert eventually(lambda: refuses(place))


def refuses(place: Place) -> bool:
    try:
        place.connected().close()
    except ConnectionRefusedError:
        return True
    return False


def test_nothing_is_left_of_peers(proxy: Proxy) -> None:
    with echo() as target, published(as_alice(proxy), target) as there:
        place = there.next_place()

        def come() -> None:
            with place.connected() as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"

        come()  # requests that wait for more peers come after the first one
        before = there.footprint.descriptors, settled(lambda: proxy.footprint.descriptors)
        for _ in range(100):
            come()
        assert eventually(lambda: there.footprint.descriptors <= before[0])
        assert eventually(lambda: proxy.footprint.descriptors <= before[1])


def test_a_proxy_that_is_not_there() -> None:
    with refusing_place() as nobody:
        ended = socks6("bind", "--via", f"socks6://{nobody.host}:{nobody.port}", "localhost:80")
    assert ended.code == 1
    assert ended.output == b""
    assert ended.errors.startswith("socks6: cannot reach the proxy")
    assert ended.errors.count("\n") == 1
