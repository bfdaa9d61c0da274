"""Which addresses the kernel counts as this machine's own."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from socks6.net import local_addresses
from socks6.net.local_addresses import (
    ATTRIBUTE,
    HEADER,
    NLMSG_ERROR,
    ROUTE,
    RTM_NEWROUTE,
    LocalAddresses,
    interface_addresses,
    leads_here,
    split,
)
from tests.kit.netns import Namespace, needs_namespaces, wait_for_own_route

PUBLIC, PUBLIC_V6 = "203.0.113.1", "2001:db8:1::1"


@pytest.fixture
def known() -> Iterator[LocalAddresses]:
    """Give what tells them, without a netlink socket yet."""
    addresses = LocalAddresses()
    yield addresses
    addresses.close()


def packed(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def test_loopback_is_here_and_what_nobody_has_is_not(known: LocalAddresses) -> None:
    assert known.holds(packed("127.0.0.1"))
    assert not known.holds(packed("192.0.2.77"))
    assert not known.holds(packed("2001:db8::77"))


@needs_namespaces
def test_addresses_of_every_interface_come_and_go_at_once(known: LocalAddresses) -> None:
    namespace = Namespace()
    try:
        namespace.configure(
            "link add left type veth peer name right", "link set left up", "link set right up"
        )
        with namespace.entered():
            for host in (PUBLIC, PUBLIC_V6):
                assert not known.holds(packed(host))  # there is no route at all
            namespace.configure(
                f"address add {PUBLIC}/24 dev left",
                f"address add {PUBLIC_V6}/64 dev left nodad",
                "address add 198.51.100.9/32 dev lo",
            )
            wait_for_own_route(PUBLIC_V6)  # the kernel notices the carrier of a new link in its own time
            for host in (PUBLIC, PUBLIC_V6, "198.51.100.9", "127.0.0.9", "::1"):
                assert known.holds(packed(host))
            for host in ("203.0.113.2", "203.0.113.255", "2001:db8:1::2", "224.0.0.1"):
                assert not known.holds(packed(host))
            assert known.holds(packed("2001:db8:1::"))  # of a router, all routers' anycast address
            namespace.configure(f"address del {PUBLIC}/24 dev left")
            assert not known.holds(packed(PUBLIC))
    finally:
        namespace.close()


@needs_namespaces
def test_a_whole_network_may_be_routed_here(known: LocalAddresses) -> None:
    namespace = Namespace()
    try:
        namespace.configure(
            "route add local 198.51.100.0/24 dev lo",
            "route add local 2001:db8:9::/48 dev lo",
            "route add blackhole 192.0.2.0/24",
            "route add prohibit 192.88.99.0/24",
        )
        with namespace.entered():
            assert known.holds(packed("198.51.100.200"))
            assert known.holds(packed("2001:db8:9::200"))
            assert not known.holds(packed("192.0.2.1"))
            assert not known.holds(packed("192.88.99.1"))
    finally:
        namespace.close()


@pytest.mark.parametrize("why", [errno.EAFNOSUPPORT, errno.EMFILE])
def test_without_netlink_sockets_tell_it(
    known: LocalAddresses, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    tries = []

    def refuse() -> socket.socket:
        tries.append(why)
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(local_addresses, "netlink_socket", refuse)
    for _ in range(2):
        assert known.holds(packed("127.0.0.1"))
        assert not known.holds(packed("192.0.2.77"))
    # what the sandbox forbids is asked for once; descriptors may be there again
    assert len(tries) == (1 if why == errno.EAFNOSUPPORT else 4)


def test_it_is_asked_anew_after_closing(known: LocalAddresses) -> None:
    assert known.holds(packed("127.0.0.1"))
    known.close()
    known.close()
    assert known.holds(packed("127.0.0.1"))


def answered(kind: int, rest: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(rest), kind, 0, 1, 0) + rest


def test_answers_that_are_none_are_refused() -> None:
    nothing = ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 1, 0)
    assert not leads_here(answered(RTM_NEWROUTE, nothing))
    assert not leads_here(answered(NLMSG_ERROR, (-errno.ENETUNREACH).to_bytes(4, "little", signed=True) * 3))
    for bad in (
        answered(7, nothing),
        answered(NLMSG_ERROR, (-errno.EPERM).to_bytes(4, "little", signed=True) * 3),
    ):
        with pytest.raises(OSError, match=r"answer|permitted"):
            leads_here(bad)


@needs_namespaces
def test_the_addresses_that_others_can_reach_are_listed() -> None:
    namespace = Namespace()
    try:
        namespace.configure(
            "link add left type veth peer name right",
            "link set left up",
            "link set right up",
            f"address add {PUBLIC}/24 dev left",
            f"address add {PUBLIC_V6}/64 dev left nodad",
            "address add 10.9.9.1 peer 10.9.9.2 dev right",
            "address add 169.254.3.3/16 dev right scope link",
            *(f"address add 198.51.100.{number}/32 dev lo" for number in range(200)),
        )
        with namespace.entered():
            own = interface_addresses(socket.AF_INET)
            assert set(own) == {PUBLIC, "10.9.9.1", *(f"198.51.100.{number}" for number in range(200))}
            assert len(own) == 202
            assert interface_addresses(socket.AF_INET6) == [PUBLIC_V6]
    finally:
        namespace.close()


def test_what_is_cut_off_of_a_list_is_left_out() -> None:
    whole = ATTRIBUTE.pack(7, 1) + b"abc\0" + ATTRIBUTE.pack(8, 2) + b"defg"
    for end in range(len(whole) + 1):
        parts = list(split(whole[:end], 0, ATTRIBUTE, lambda header: header))
        assert parts == [(1, b"abc"), (2, b"defg")][: (end >= 7) + (end >= 16)]
    assert not list(split(ATTRIBUTE.pack(0, 1) * 9, 0, ATTRIBUTE, lambda header: header))
