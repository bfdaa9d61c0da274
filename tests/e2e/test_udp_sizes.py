"""Datagrams of every size through a converter and a server, by each way between them, over a link with an MTU of 1 500."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.kit.certificates import write_certificate
from tests.kit.footprint import eventually
from tests.kit.link.cable import link, needs_links
from tests.kit.netns import Road
from tests.kit.origins import Place
from tests.kit.proxies import Proxy, converter, server
from tests.kit.socks5_client import socks5_association
from tests.kit.udp_hosts import udp_echo

pytestmark = [pytest.mark.e2e, needs_links]

INNER_QUIC: Final = (1200, 1232, 1252, 1280)  # of other clients' first packets: these must fit in a frame
LONGER: Final = (1350, 1400, 1472, 1500, 9000)
DTLS_LARGEST: Final = 16_364
WHOLE: Final = 65_487


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A road with a server of each kind at its end."""

    road: Road
    echo: Place
    tls: str
    quic: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with link() as road, contextlib.ExitStack() as stack:
        host = road.last_address()
        files = write_certificate(tmp_path_factory.mktemp("certificate"), host)
        listeners = [f"socks6+{kind}://{host}:0?{files.listener_query}" for kind in ("tls", "quic")]
        with road.last.entered():
            far = stack.enter_context(
                server("--listen", listeners[0], "--listen", listeners[1], "--allow-private", "--open")
            )
            echo = stack.enter_context(udp_echo(host))
        tls, quic = (f"{url}?ca={files.ca}" for url in far.urls)
        yield Scene(road=road, echo=echo, tls=tls, quic=quic)


@contextlib.contextmanager
def converting(scene: Scene, via: str) -> Iterator[Proxy]:
    with scene.road.first.entered(), converter(via) as near:
        yield near


def whole(near: Proxy, echo: Place, *sizes: int) -> None:
    """Fail if a datagram does not come back as it was."""
    with socks5_association(near.place) as client:
        for size in sizes:
            data = size.to_bytes(4, "big") * (size // 4 + 1)
            assert client.ask(echo.host, echo.port, data[:size]).data == data[:size]


@pytest.mark.parametrize("backend", ["qh3", "aioquic"])
def test_within_quic_what_fits_in_no_frame_goes_on_the_stream(scene: Scene, backend: str) -> None:
    with converting(scene, f"{scene.quic}&backend={backend}") as near:
        whole(near, scene.echo, *INNER_QUIC, *LONGER, WHOLE)


def test_within_dtls_long_ones_are_fragmented_and_the_longest_reported_once(scene: Scene) -> None:
    with converting(scene, scene.tls) as near, socks5_association(near.place) as client:
        whole(near, scene.echo, *INNER_QUIC, *LONGER, DTLS_LARGEST)
        for _ in range(2):
            client.send(scene.echo.host, scene.echo.port, bytes(DTLS_LARGEST + 1))
        assert client.ask(scene.echo.host, scene.echo.port, b"on").data == b"on"
        assert eventually(lambda: any("datagram dropped" in line for line in near.said)), near.said
        said = [line for line in near.said if "datagram dropped" in line]
        assert len(said) == 1, near.said
        assert f"at most {DTLS_LARGEST} fit" in said[0]


def test_on_the_stream_all_sizes_pass(scene: Scene) -> None:
    with converting(scene, f"{scene.tls}&udp=stream") as near:
        whole(near, scene.echo, *INNER_QUIC, *LONGER, WHOLE)
