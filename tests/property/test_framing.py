"""SOCKS 5 UDP packets: the quick way and the values agree on any bytes."""

from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.message.framing import Socks5Framing
from tests.kit.socks_messages import Socks5Datagram, decode_socks5_datagram
from tests.kit.strategies import HOSTS, PORTS

SOCKS5 = Socks5Framing()
PACKETS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda kind, rest: bytes((0, 0, 0, kind)) + rest, st.sampled_from([1, 3, 4]), st.binary(max_size=300)
    ),
)


@given(PACKETS)
def test_any_bytes_are_read_alike(packet: bytes) -> None:
    try:
        value = decode_socks5_datagram(packet)
    except DecodeError:
        value = None
    split = SOCKS5.parse(packet)
    if split is None:
        assert value is None or value.fragment
        return
    key, start, _ = split
    try:
        host, port, _ = SOCKS5.host_of(key)
    except DecodeError:
        assert value is None
    else:
        assert value == Socks5Datagram(host=host, port=port, data=packet[start:])


@given(HOSTS, PORTS, st.binary(max_size=100))
def test_what_is_written_is_read(host: str, port: int, data: bytes) -> None:
    split = SOCKS5.parse(SOCKS5.prefix(host, port)[0] + data)
    assert split is not None
    assert SOCKS5.host_of(split[0])[:2] == (host, port)
