import socket

from socks6.relay.datagrams.forwarder import SlowPath

Framing = tuple[int, int, bool, int]  # see native/framing.h
Miss = tuple[
    SlowPath, socket.socket, int, bytes, bytes, bytes
]  # owner, socket, from client?, data, source, local address

class Entry:
    def counts(self) -> tuple[int, int, int, int, float]: ...
    def bind_client(
        self, framing: Framing, fd: int, source: bytes, local: bytes, control: bytes, /
    ) -> None: ...
    def add_route(
        self, from_client: bool, key: bytes, fd: int, address: bytes, prefix: bytes, until: float, /
    ) -> None: ...
    def close(self) -> None: ...

class Forwarder:
    dropped: int
    def __new__(cls, seed: int, /) -> Forwarder: ...
    def open(self, owner: SlowPath, client: Framing, remote: Framing, /) -> Entry: ...
    def forward_port(
        self, sock: socket.socket, fd: int, strangers: SlowPath | None, now: float, /
    ) -> list[Miss] | None: ...
    def forward_sockets(self, ready: list[tuple[object, ...]], now: float, /) -> list[Miss] | None: ...
