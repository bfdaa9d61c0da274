"""Links between network namespaces: `with link(delay=0.05) as (left, right)`, and several in a row.

::

    with link(delay=0.05, loss=0.01, seed=7) as road:
        left, right = road
        with right.entered(): ...       # road.last_address() is its address

    with chain(Cable.both(delay=0.05), Cable.both(delay=0.005)) as (client, proxy, origin): ...
"""

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

import pytest

from tests.kit.link.model import Conditions, Counts
from tests.kit.netns import LEFT, OBSTACLE, RIGHT, Namespace, Road, road

ROOT: Final = Path(__file__).parents[3]
TUN: Final = "/dev/net/tun"
TUNSETIFF: Final = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MTU: Final = 1500
STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Cable:
    """A link before it is laid: its conditions from left to right and back, and what it is made of."""

    there: Conditions = field(default_factory=Conditions)
    back: Conditions = field(default_factory=Conditions)
    mtu: int = MTU
    seed: int = 0
    counts: list[Counts] = field(default_factory=list, compare=False)  # there and back, once it has ended

    @classmethod
    def both(cls, *, mtu: int = MTU, seed: int = 0, **conditions: float) -> Self:
        """Return one with the same conditions both ways."""
        same = Conditions(**conditions)  # type: ignore[arg-type]  # `queue` is whole where it is given
        return cls(there=same, back=same, mtu=mtu, seed=seed)

    @contextlib.contextmanager
    def laid(self, near: Namespace, far: Namespace) -> Iterator[None]:
        """Join two namespaces: the interface "right" of the near one, "left" of the far one."""
        devices = [_device(near, RIGHT), _device(far, LEFT)]
        try:
            for host, name in ((near, RIGHT), (far, LEFT)):
                # no address of its own making, and no talk about one
                host.configure(f"link set {name} mtu {self.mtu} txqueuelen 10000 addrgenmode none")
            with self._carried(devices):
                yield
        finally:
            for device in devices:
                os.close(device)

    @contextlib.contextmanager
    def _carried(self, devices: Sequence[int]) -> Iterator[None]:
        conditions = [asdict(self.there), asdict(self.back)]
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.kit.link.carrier",
                *map(json.dumps, (devices, conditions, self.seed)),
            ],
            cwd=ROOT,
            pass_fds=devices,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        ) as carrier:
            assert carrier.stdin is not None
            assert carrier.stdout is not None
            try:
                if carrier.stdout.readline() != b"carrying\n":
                    raise OSError("the link's carrier ended at once")
                try:
                    yield
                finally:
                    carrier.stdin.close()
                    counts = json.loads(carrier.stdout.readline())
                    self.counts[:] = [Counts(**each) for each in counts]
                    carrier.wait(STOP_SECONDS)
            finally:
                carrier.kill()


def link(*, mtu: int = MTU, seed: int = 0, **conditions: float) -> contextlib.AbstractContextManager[Road]:
    """Lay one link, with the same conditions (see `Conditions`) both ways, between two new namespaces."""
    return chain(Cable.both(mtu=mtu, seed=seed, **conditions))


def chain(*cables: Cable) -> contextlib.AbstractContextManager[Road]:
    """Lay links in a row: one host more than there are cables, of which each reaches all others."""
    return road(routers=len(cables) - 1, join=lambda near, far, index: cables[index].laid(near, far))


def _device(host: Namespace, name: str) -> int:
    """Make a TUN device inside a namespace; return what its packets are read from and written to."""
    with host.entered():
        descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _obstacle() -> str:
    """Return why there can be no links here; "" when there can."""
    if OBSTACLE:
        return OBSTACLE
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"links need {TUN}: {error.strerror}"
    return ""


LINK_OBSTACLE: Final = _obstacle()
needs_links = pytest.mark.skipif(bool(LINK_OBSTACLE), reason=LINK_OBSTACLE)
