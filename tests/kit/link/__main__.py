"""Lay a link between two named network namespaces, and keep it until Ctrl-C.

  python -m tests.kit.link --delay 50ms
  python -m tests.kit.link --delay 50ms --jitter 5ms --loss 1% --rate 2MB --seed 7
  python -m tests.kit.link --delay 20ms --back-delay 80ms --back-rate 100kB

Two hosts come to be, "left" and "right", with nothing in them but the link. What you start inside has no other
network: `ip netns exec left curl http://10.66.1.2/`. What is said holds for both directions; --back-... says
otherwise of the way from right to left. The same seed loses, doubles and holds back the same packets again.
"""

import argparse
import contextlib
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Final

from tests.kit.link.cable import LINK_OBSTACLE, MTU, Cable, chain
from tests.kit.link.model import Conditions
from tests.kit.netns import Namespace

UNITS: Final = {  # how many are in a second, in the whole, in a byte: 1/1000 is not exact, 1000 is
    "time": {"us": 1e6, "ms": 1e3, "s": 1.0, "": 1.0},
    "share": {"%": 100.0, "": 1.0},
    "bytes": {"": 1.0, "b": 1.0, "kb": 1e-3, "mb": 1e-6, "gb": 1e-9},
}
HELP: Final = {
    "delay": ("time", "to every packet, one way (50ms, 0.05, 800us)"),
    "jitter": ("time", "up to so much more, evenly spread; packets stay in order"),
    "loss": ("share", "of packets that never arrive (1%%, 0.01)"),
    "duplication": ("share", "of packets that arrive twice"),
    "reordering": ("share", "of packets that are held back, so that later ones overtake"),
    "holdback": ("time", "for which those are held back (10ms)"),
    "rate": ("bytes", "a second (100kB, 2MB); no limit without"),
    "queue": ("bytes", "that may wait where there is a rate (262144)"),
}


def amount(kind: str) -> Callable[[str], float]:
    """Return a reader of numbers with units."""

    def read(text: str) -> float:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z%]*)", text.strip().lower())
        units = UNITS[kind]
        if match is None or match[2] not in units:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no {kind}: a number and one of {', '.join(filter(None, units))}"
            )
        return float(match[1]) / units[match[2]]

    return read


def cable(words: list[str] | None = None) -> tuple[Cable, tuple[str, str]]:
    """Read the command line; return the cable and the names of its ends."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kit.link",
        usage="%(prog)s [--delay TIME] [--loss SHARE] ...",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    names = [field.name for field in fields(Conditions)]
    for name in names:
        kind, text = HELP[name]
        parser.add_argument(f"--{name}", type=amount(kind), metavar=kind.upper(), help=text)
    for name in names:
        kind, _ = HELP[name]
        parser.add_argument(
            f"--back-{name}", type=amount(kind), metavar=kind.upper(), help="the same, from right to left"
        )
    parser.add_argument(
        "--mtu", type=int, default=MTU, help=f"largest packet in bytes ({MTU}; IPv6 needs 1280)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which packets have bad luck (0)")
    parser.add_argument("--names", default="left,right", help="of the namespaces (left,right)")
    asked = parser.parse_args(words)
    there = {name: value for name in names if (value := getattr(asked, name)) is not None}
    back = {name: value for name in names if (value := getattr(asked, f"back_{name}")) is not None}
    ends = asked.names.split(",")
    if len(ends) != 2 or ends[0] == ends[1] or not all(re.fullmatch(r"[\w.-]+", end) for end in ends):
        parser.error(f"--names {asked.names}: two different names with a comma between")
    try:
        laid = Cable(
            there=Conditions(**there), back=Conditions(**{**there, **back}), mtu=asked.mtu, seed=asked.seed
        )
    except ValueError as error:
        parser.error(str(error))
    return laid, (ends[0], ends[1])


@contextlib.contextmanager
def named(host: Namespace, name: str) -> Iterator[str]:
    """Give a namespace a name; yield what is written before a command that is to run inside."""
    if host.run("sh", "-c", f"ip netns attach {name} $$").returncode:
        yield f"nsenter --net={host.path}"  # the name is taken, or this is a container that may not mount
        return
    try:
        yield f"ip netns exec {name}"
    finally:
        host.run("ip", "netns", "delete", name)


def main() -> int:
    """Lay the link that the command line describes."""
    wanted, names = cable()
    if LINK_OBSTACLE:
        print(LINK_OBSTACLE, file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), chain(wanted) as road, contextlib.ExitStack() as held:
        for index, (host, name) in enumerate(zip(road, names, strict=True)):
            addresses = [road.own_address(index, family) for family in (socket.AF_INET, socket.AF_INET6)]
            print(f"{name}: {' '.join(addresses)}   {held.enter_context(named(host, name))} COMMAND")
        print("Ctrl-C ends it", flush=True)
        while True:
            signal.pause()
    for direction, counts in zip(
        (f"{names[0]} to {names[1]}", f"{names[1]} to {names[0]}"), wanted.counts, strict=True
    ):
        print(
            f"{direction}: {counts.offered} packets, {counts.lost} lost, {counts.overflowed} overflowed, "
            f"{counts.duplicated} doubled, {counts.held_back} held back"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
