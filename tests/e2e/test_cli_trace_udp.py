"""socks6 trace --udp: three routers between a real server and a name server, in network namespaces."""

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.processes import Ended, socks6
from tests.kit.proxies import server
from tests.kit.udp_hosts import name_server

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


def way(far: Road, family: int) -> list[str]:
    """Return the lines that tell of all routers and the host, with two probes each."""
    return [f" {ttl}  {far.address(ttl, family)}  #  #" for ttl in range(1, ROUTERS + 2)]


@FAMILIES
def test_three_routers_and_a_name_server(far: Road, family: int) -> None:
    host = far.last_address(family)
    with contextlib.ExitStack() as held:
        with far.last.entered():
            place = held.enter_context(name_server(host))
        with far.first.entered(), server() as running:
            ended = socks6("trace", "--udp", "-q", "2", "--via", running.url, host, str(place.port))
    assert (ended.code, ended.errors) == (0, "")
    assert lines_of(ended) == [f"traceroute to {host} from {running.url}, 30 hops max", *way(far, family)]


def test_a_closed_port_is_silent(far: Road) -> None:
    host = far.last_address()
    with far.first.entered(), server() as running:
        ended = socks6("trace", "--udp", "-q", "2", "-m", "4", "-w", "0.5", "--via", running.url, host, "9")
    assert ended.code == 1
    assert lines_of(ended)[1:] == [*way(far, socket.AF_INET)[:-1], " 4  * *"]
    assert ended.errors == f"socks6: {host} is further away\n"


@FAMILIES
def test_a_chain_of_proxies_passes_the_errors_on(far: Road, family: int) -> None:
    host = far.last_address(family)
    with far.first.entered(), server() as last, server("--via", last.url) as first:
        ended = socks6("trace", "--udp", "-q", "2", "-m", "3", "--via", first.url, host, "9")
    assert lines_of(ended)[1:] == way(far, family)[:-1]


@pytest.mark.parametrize(("family", "mark"), [(socket.AF_INET, "!H"), (socket.AF_INET6, "!N")])
def test_a_router_that_knows_no_way_on_ends_the_trace(far: Road, family: int, mark: str) -> None:
    host = far.last_address(family)
    far.hosts[2].configure(f"route add unreachable {host}")
    with far.first.entered(), server() as running:
        ended = socks6("trace", "--udp", "-q", "1", "--via", running.url, host, "9")
    assert ended.code == 1
    assert lines_of(ended)[2] == f" 2  {far.address(2, family)}  # {mark}"
    assert "unreachable" in ended.errors
