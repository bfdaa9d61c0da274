"""socks6 trace: three routers between a real server and a host, in network namespaces."""

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.processes import Ended, socks6
from tests.kit.proxies import server
from tests.kit.reach import port_of

pytestmark = [pytest.mark.e2e, needs_namespaces]

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
ROUTERS = 3


@pytest.fixture
def far() -> Iterator[Road]:
    """Give two hosts with three routers between them."""
    with road(routers=ROUTERS) as made:
        yield made


def lines_of(ended: Ended) -> list[str]:
    """Return the lines of a trace, with # for each time."""
    return re.sub(r"[0-9]+\.[0-9]{3} ms", "#", ended.output.decode()).splitlines()


def way(far: Road, family: int, *, probes: int = 1) -> list[str]:
    """Return the lines that tell of all routers and the host."""
    times = "  ".join("#" * probes)
    return [f" {ttl}  {far.address(ttl, family)}  {times}" for ttl in range(1, ROUTERS + 2)]


@FAMILIES
def test_three_routers_and_the_host(far: Road, family: int) -> None:
    host = far.last_address(family)
    with far.last.listener(host) as listener, far.first.entered(), server() as running:
        ended = socks6("trace", "--via", running.url, host, str(port_of(listener)))
    assert (ended.code, ended.errors) == (0, "")
    assert lines_of(ended) == [
        f"traceroute to {host} from {running.url}, 30 hops max",
        *way(far, family, probes=3),
    ]


@FAMILIES
def test_the_first_router_is_the_one_that_the_kernel_sends_to(far: Road, family: int) -> None:
    host = far.last_address(family)
    with far.first.entered():
        route = subprocess.run(
            ["ip", "route", "get", host], capture_output=True, text=True, check=True
        ).stdout
        with server() as running:
            ended = socks6("trace", "-q", "1", "-m", "1", "--via", running.url, host)
    assert f" via {lines_of(ended)[1].split()[1]} " in route


def test_a_host_that_refuses_is_reached(far: Road) -> None:
    with far.first.entered(), server() as running:
        ended = socks6("trace", "-q", "1", "--via", running.url, far.last_address(), "9")
    assert ended.code == 0
    assert lines_of(ended)[1:] == way(far, socket.AF_INET)


@FAMILIES
def test_a_chain_of_proxies_passes_the_routers_on(far: Road, family: int) -> None:
    host = far.last_address(family)
    with far.first.entered(), server() as last, server("--via", last.url) as first:
        ended = socks6("trace", "-q", "1", "--via", first.url, host, "9")
    assert ended.code == 0
    assert lines_of(ended)[1:] == way(far, family)


def test_a_router_that_answers_nothing_is_a_star(far: Road) -> None:
    host = far.last_address()
    far.hosts[3].configure(f"route add blackhole {host}")
    with far.first.entered(), server() as running:
        ended = socks6("trace", "-q", "2", "-m", "3", "-w", "0.7", "--via", running.url, host, "9")
    assert ended.code == 1
    assert lines_of(ended)[1:] == [f" 1  {far.address(1)}  #  #", f" 2  {far.address(2)}  #  #", " 3  * *"]
    assert ended.errors == f"socks6: {host} is further away\n"


@pytest.mark.parametrize(("family", "mark"), [(socket.AF_INET, "!H"), (socket.AF_INET6, "!N")])
def test_a_router_that_knows_no_way_on_ends_the_trace(far: Road, family: int, mark: str) -> None:
    host = far.last_address(family)
    far.hosts[2].configure(f"route add unreachable {host}")
    with far.first.entered(), server() as running:
        ended = socks6("trace", "-q", "1", "--via", running.url, host, "9")
    assert ended.code == 1
    assert lines_of(ended)[1:] == [f" 1  {far.address(1, family)}  #", f" 2  ?  # {mark}"]
    assert "unreachable" in ended.errors


def test_a_lowest_ttl_hides_the_routers_that_are_near(far: Road, tmp_path: Path) -> None:
    config = tmp_path / "socks6.toml"
    config.write_text("[[stack]]\nlowest-ttl = 3")
    with far.first.entered(), server("--config", str(config)) as running:
        ended = socks6("trace", "-q", "1", "-m", "2", "--via", running.url, far.last_address(), "9")
    assert lines_of(ended)[1:] == [f" {ttl}  {far.address(3)}  #" for ttl in (1, 2)]


def test_a_ttl_that_is_forbidden_shows_no_router_and_says_so(far: Road, tmp_path: Path) -> None:
    host = far.last_address()
    config = tmp_path / "socks6.toml"
    config.write_text('[[stack]]\nforbid = "ttl"')
    with (
        far.last.listener(host) as listener,
        far.first.entered(),
        server("--config", str(config)) as running,
    ):
        ended = socks6("trace", "-q", "1", "--via", running.url, host, str(port_of(listener)))
    assert ended.code == 1
    assert lines_of(ended)[1:] == [f" 1  {host}  #"]
    assert (
        ended.errors == "socks6: asked for a TTL of 1, the proxy had one of 64: routers may be missing here\n"
    )
