"""How long the policy takes to judge: `python benchmarks/micro/policy.py`."""

import timeit
from collections.abc import Callable
from itertools import count
from typing import Final

from socks6.message.codes import Command
from socks6.policy.addresses import examine
from socks6.policy.identity import ANONYMOUS
from socks6.policy.rules import Policy, Rule

ROUNDS: Final = 50_000
PLAIN: Final = Policy()
RULED: Final = Policy(
    rules=(
        Rule.parse("deny", hosts=["10.0.0.0/8", ".evil.example"]),
        Rule.parse("allow", users=["alice"]),
        Rule.parse("deny", ports=["25"]),
    )
)


def judge(policy: Policy, address: str) -> Callable[[], object]:
    """Return a call that judges one address."""
    return lambda: policy.judge_address(ANONYMOUS, Command.CONNECT, "example.com", address, 443)


def new_address() -> Callable[[], object]:
    """Return a call that examines an address never seen before."""
    numbers = count(0x0808_0000)
    return lambda: examine(f"8.{(n := next(numbers)) >> 16 & 255}.{n >> 8 & 255}.{n & 255}")


def new_ipv6_address() -> Callable[[], object]:
    """Return a call that examines an IPv6 address never seen before."""
    numbers = count()
    return lambda: examine(f"2606:4700::{next(numbers):x}")


CASES: Final[dict[str, Callable[[], object]]] = {
    "IPv4 address, known": judge(PLAIN, "93.184.216.34"),
    "IPv6 address, known": judge(PLAIN, "2606:4700:4700::1111"),
    "IPv4 address, known, three rules": judge(RULED, "93.184.216.34"),
    "IPv4 address, new": new_address(),
    "IPv6 address, new": new_ipv6_address(),
    "name": lambda: PLAIN.judge_name(ANONYMOUS, Command.CONNECT, "www.example.com", 443),
    "name, three rules": lambda: RULED.judge_name(ANONYMOUS, Command.CONNECT, "www.example.com", 443),
}

if __name__ == "__main__":
    for title, case in CASES.items():
        print(f"{title:34} {min(timeit.repeat(case, number=ROUNDS, repeat=5)) / ROUNDS * 1e6:6.2f} us")
