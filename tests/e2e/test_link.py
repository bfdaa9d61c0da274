"""The link of the kit: what the model decides really happens to packets."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.kit.link.cable import Cable, chain, link, needs_links
from tests.kit.link.model import Conditions
from tests.kit.netns import Namespace, Road

pytestmark = [pytest.mark.e2e, needs_links]

FAMILIES: Final = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
PATIENCE: Final = 10.0
END: Final = 1000
SO_RCVBUFFORCE, IP_MTU_DISCOVER, IP_PMTUDISC_DO = 33, 10, 2  # linux/socket.h, linux/in.h


def datagrams(host: Namespace, address: str, family: int = socket.AF_INET) -> socket.socket:
    with host.entered():
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    sock.bind((address, 0))
    return sock


@contextlib.contextmanager
def ends(road: Road, family: int = socket.AF_INET) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a UDP socket at each end, the first connected to the last."""
    with (
        datagrams(road.first, road.own_address(0, family), family) as near,
        datagrams(road.last, road.last_address(family), family) as far,
    ):
        near.connect(far.getsockname())
        yield near, far


def quickest(near: socket.socket, far: socket.socket) -> float:
    """Return the least round-trip time of some, which no other work on the machine has made longer."""
    times = []
    for _ in range(5):
        started = time.monotonic()
        near.send(b"there")
        data, peer = far.recvfrom(100)
        far.sendto(data, peer)
        near.recv(100)
        times.append(time.monotonic() - started)
    return min(times)


def numbers_received(sock: socket.socket) -> list[int]:
    """Return the numbers in datagrams, up to those of the end."""
    seen = []
    while (number := int.from_bytes(sock.recv(2000), "big")) < END:
        seen.append(number)
    return seen


@FAMILIES
def test_a_round_trip_takes_both_delays(family: int) -> None:
    cable = Cable(there=Conditions(delay=0.02), back=Conditions(delay=0.01))
    with chain(cable) as road, ends(road, family) as (near, far):
        assert 0.03 <= quickest(near, far) < 0.09


def test_links_in_a_row_add_up_and_the_middle_is_nearer_to_both() -> None:
    with chain(Cable.both(delay=0.02), Cable.both(delay=0.005)) as road:
        client, proxy, _ = road
        with ends(road) as (near, far):
            assert 0.05 <= quickest(near, far) < 0.15
        with (
            datagrams(client, road.own_address(0)) as near,
            datagrams(proxy, road.address(1)) as far,
        ):
            near.connect(far.getsockname())
            assert 0.04 <= quickest(near, far) < 0.12


def what_arrives(cable: Cable) -> list[int]:
    """Send the numbers to 400; return those that arrive."""
    with chain(cable) as road, ends(road) as (near, far):
        for number in range(400):
            near.send(number.to_bytes(4, "big"))
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.extend(numbers_received(far)))
        thread.start()
        while True:  # a word is lost at times; none overtakes what was held back for 10 ms
            thread.join(0.05)
            if not thread.is_alive():
                return got
            near.send(END.to_bytes(4, "big"))


def test_the_seed_says_which_packets_are_lost_doubled_and_overtaken() -> None:
    bad = Conditions(delay=0.02, loss=0.1, duplication=0.1, reordering=0.1, holdback=0.01)
    first = Cable(there=bad, seed=7)
    got = what_arrives(first)
    assert 320 < len(set(got)) < 390
    assert len(got) > len(set(got)) + 15
    assert got != sorted(got)
    assert first.counts[0].lost + len(set(got)) >= 400
    assert sorted(what_arrives(Cable(there=bad, seed=7))) == sorted(got)
    assert sorted(what_arrives(Cable(there=bad, seed=8))) != sorted(got)


def test_a_rate_bounds_what_tcp_carries_and_loss_costs_no_byte() -> None:
    sent = bytes(range(256)) * 800  # 200 kB
    cable = Cable(
        there=Conditions(delay=0.002, rate=400_000, loss=0.05), back=Conditions(delay=0.002), seed=3
    )
    with chain(cable) as road:
        listener = road.last.listener(road.last_address())
        with road.first.entered():
            near = socket.create_connection(listener.getsockname()[:2], timeout=PATIENCE)
        far, _ = listener.accept()
        with listener, near, far:
            far.settimeout(PATIENCE)
            started = time.monotonic()
            sender = threading.Thread(target=near.sendall, args=(sent,))
            sender.start()
            got = bytearray()
            while len(got) < len(sent):
                got += far.recv(65536)
            elapsed = time.monotonic() - started
            sender.join()
    assert got == sent
    assert elapsed > 0.4  # half a second, but for what the queue let go before
    assert cable.counts[0].lost


def test_no_larger_packet_goes_over_than_the_mtu() -> None:
    with link(mtu=1280) as road, ends(road) as (near, far):
        near.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        near.send(bytes(1280 - 28))
        assert len(far.recv(2000)) == 1280 - 28
        with pytest.raises(OSError, match="Message too long"):
            near.send(bytes(1280 - 27))


def test_nothing_goes_over_it_unasked() -> None:
    cable = Cable()
    with chain(cable) as road, ends(road, socket.AF_INET6) as (near, far):
        quickest(near, far)
    assert [counts.offered for counts in cable.counts] == [5, 5]


def test_by_hand() -> None:
    line = [sys.executable, "-m", "tests.kit.link", "--delay", "20ms", "--loss", "0.1%", "--names"]
    names = [f"socks6-test-{side}-{threading.get_native_id()}" for side in ("a", "b")]
    with subprocess.Popen([*line, ",".join(names)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            shown = [process.stdout.readline() for _ in range(3)]
            assert shown[2] == "Ctrl-C ends it\n"
            entry = re.fullmatch(r"\S+: 10\.66\.1\.1 fd66:1::1   (.*) COMMAND\n", shown[0])
            assert entry
            inside = subprocess.run(
                [*entry[1].split(), "ip", "route", "get", "10.66.1.2"],
                capture_output=True,
                text=True,
                check=True,
            )
            assert "dev right src 10.66.1.1" in inside.stdout
            process.send_signal(signal.SIGINT)
            assert re.search(rf"{names[0]} to {names[1]}: 0 packets, 0 lost", process.stdout.read())
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert names[0] not in left
