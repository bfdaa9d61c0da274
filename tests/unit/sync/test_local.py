"""A local proxy of a program that blocks: it is there within the block, and not afterwards."""

import socket

import pytest

from socks6.errors import ConfigurationError
from socks6.sync import local_proxy


def test_it_listens_for_the_time_of_the_block() -> None:
    with (
        local_proxy("socks6://far.example") as proxy,
        socket.create_connection((proxy.host, proxy.port), timeout=10) as sock,
    ):
        sock.sendall(b"\x05\x01\x00")
        assert sock.recv(2) == b"\x05\xff"  # not without the password
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port), timeout=10)


def test_what_the_block_raises_and_what_cannot_begin_is_raised() -> None:
    with pytest.raises(KeyError), local_proxy("socks6://far.example"):
        raise KeyError
    with pytest.raises(ConfigurationError), local_proxy("ftp://far.example"):
        pass
