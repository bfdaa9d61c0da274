"""QUIC over a link that loses packets: what streams carry is whole, datagrams are lost as the link loses them."""

import contextlib
import hashlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.kit.certificates import write_certificate
from tests.kit.forwarding import forward
from tests.kit.link.cable import Cable, chain, needs_links
from tests.kit.netns import Road
from tests.kit.origins import checksum, web_site
from tests.kit.proxies import ENVIRONMENT, converter, curl, server
from tests.kit.udp_hosts import ADDRESS, name_server, udp_echo

pytestmark = [pytest.mark.e2e, needs_links]

LOSS: Final = 0.01
SIZE: Final = 2 << 20  # congestion control lets about 0.8 MB/s through
DATAGRAMS: Final = 1_000
MOST_LOST: Final = 0.06  # of datagrams that cross the link twice: three times what is to be expected
UNDER_WAY: Final = 32
LATE: Final = 0.5  # seconds; a round trip takes 0.02
QUESTIONS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A road with a server at its end, and how a client at its beginning names that."""

    road: Road
    via: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    cable = Cable.both(delay=0.01, loss=LOSS, seed=1)
    with chain(cable) as road, contextlib.ExitStack() as stack:
        host = road.last_address()
        files = write_certificate(tmp_path_factory.mktemp("certificate"), host)
        listen = f"socks6+quic://{host}:0?{files.listener_query}"
        with road.last.entered():
            far = stack.enter_context(server("--listen", listen, "--allow-private", "--user", "alice:123456"))
        yield Scene(road=road, via=f"{far.as_user('alice', '123456')}?ca={files.ca}")
        stack.close()
    lost, packets = (sum(getattr(counts, name) for counts in cable.counts) for name in ("lost", "offered"))
    assert lost > packets * LOSS / 2


def test_a_file_arrives_whole(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        with scene.road.last.entered():
            site = stack.enter_context(web_site())
        with scene.road.first.entered(), converter(scene.via) as near:
            fetched = curl("--socks5-hostname", near.authority, f"{site.url}/big/{SIZE}")
            assert fetched.code == 0, fetched.complaint
            assert hashlib.sha256(fetched.body).hexdigest() == checksum(SIZE)


def test_datagrams_are_lost_as_the_link_loses_them_and_nothing_ends(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        with scene.road.last.entered():
            place = stack.enter_context(udp_echo())
        with scene.road.first.entered():
            near = stack.enter_context(forward(scene.via, place, "--udp"))
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.connect((near.host, near.port))
            came = echoed(sock, DATAGRAMS)
    assert DATAGRAMS * (1 - MOST_LOST) < came < DATAGRAMS


def echoed(sock: socket.socket, count: int) -> int:
    """Send numbered datagrams, a few under way at a time; return how many came back, each once and as it was."""
    came: set[bytes] = set()

    def take(patience: float) -> bool:
        sock.settimeout(patience)
        try:
            data = sock.recv(2000)
        except TimeoutError:
            return False
        assert len(data) == 200
        assert data not in came
        came.add(data)
        return True

    given_up = 0
    for number in range(count):
        sock.send(number.to_bytes(4, "big") * 50)
        while number + 1 - given_up - len(came) >= UNDER_WAY:
            if not take(LATE):
                given_up = number + 1 - len(came)
    while len(came) < count and take(LATE):
        pass
    return len(came)


def test_names_are_looked_up(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        with scene.road.last.entered():
            place = stack.enter_context(name_server())
        with scene.road.first.entered():
            near = stack.enter_context(forward(scene.via, place, "--udp"))
            for number in range(QUESTIONS):
                words = ["dig", "+short", "+tries=5", "+time=1", "-p", str(near.port), "@127.0.0.1"]
                done = subprocess.run(
                    [*words, f"{number}.example"], env=ENVIRONMENT, capture_output=True, text=True, check=True
                )
                answers = [line for line in done.stdout.splitlines() if not line.startswith(";;")]
                assert answers == [ADDRESS]
