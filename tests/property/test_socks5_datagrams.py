"""SOCKS 5 UDP packets: the quick way and the values agree on any bytes."""

from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.message.socks5 import Socks5Datagram
from socks6.message.socks5_datagrams import decode_key, packet_header, split_packet
from tests.kit.strategies import HOSTS, PORTS

PACKETS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda kind, rest: bytes((0, 0, 0, kind)) + rest, st.sampled_from([1, 3, 4]), st.binary(max_size=300)
    ),
)


@given(PACKETS)
def test_any_bytes_are_read_alike(packet: bytes) -> None:
    try:
        value = Socks5Datagram.decode(packet)
    except DecodeError:
        value = None
    split = split_packet(packet)
    if split is None:
        assert value is None or value.fragment
        return
    key, start = split
    try:
        host, port = decode_key(key)
    except DecodeError:
        assert value is None
    else:
        assert value == Socks5Datagram(host=host, port=port, data=packet[start:])


@given(HOSTS, PORTS, st.binary(max_size=100))
def test_what_is_written_is_read(host: str, port: int, data: bytes) -> None:
    split = split_packet(packet_header(host, port) + data)
    assert split is not None
    assert decode_key(split[0]) == (host, port)
