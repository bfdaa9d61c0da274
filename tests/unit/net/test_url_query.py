"""The query of a proxy's URL."""

import pytest

from socks6.errors import ConfigurationError
from socks6.message.codes import Availability, Leg
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.net.url import ProxyUrl

REMOTE = Leg.PROXY_REMOTE


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", ()),
        ("tos=0x10", (Tos(leg=REMOTE, tos=16),)),
        ("dscp=ef", (Tos(leg=REMOTE, tos=46 << 2),)),
        ("dscp=AF11&leg=both", (Tos(leg=Leg.BOTH, tos=10 << 2),)),
        ("dscp=cs7", (Tos(leg=REMOTE, tos=56 << 2),)),
        ("dscp=8", (Tos(leg=REMOTE, tos=32),)),
        ("ttl=64&leg=client", (Ttl(leg=Leg.CLIENT_PROXY, ttl=64),)),
        ("df=1", (NoFragmentation(leg=REMOTE, availability=Availability.YES),)),
        ("happy-eyeballs=0", (HappyEyeballs(availability=Availability.NO),)),
        ("tfo=1200&mptcp=1", (Tfo(payload_size=1200), Multipath(availability=Availability.YES))),
    ],
)
def test_a_query_names_stack_options(query: str, options: tuple[StackOption, ...]) -> None:
    url = ProxyUrl.parse(f"socks6://127.0.0.1:1080?{query}")
    assert url.options == options
    assert ProxyUrl.parse(url.with_secrets()) == url


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("speed=9", "unknown option 'speed'"),
        ("ttl=1&ttl=2", "twice"),
        ("ttl=0", "ttl"),
        ("ttl=256", "ttl"),
        ("ttl=many", "ttl=many"),
        ("tos=256", "tos"),
        ("tos=1&dscp=1", "same field"),
        ("dscp=64", "dscp"),
        ("dscp=af99", "af99"),
        ("mptcp=yes", "write 0 or 1"),
        ("ttl=3&leg=other", "none of client, remote, both"),
        ("tfo=65536", "tfo"),
    ],
)
def test_what_is_wrong_is_named(query: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ProxyUrl.parse(f"socks6://127.0.0.1:1080?{query}")


def test_a_listener_has_no_options() -> None:
    with pytest.raises(ConfigurationError, match="no options"):
        ProxyUrl.parse_listener("socks6://127.0.0.1:1080?ttl=3")
