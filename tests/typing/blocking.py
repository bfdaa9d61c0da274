"""A user's program, for type checkers alone: what blocking calls take and return."""

import http.client
import socket
import subprocess
from typing import assert_type

import socks6
import socks6.pysocks as socks
import socks6.sync
from socks6 import ConnectionInfo, Endpoint, LocalProxy, NotAllowed, ProxyRequest, RequestJudge, ServerWorker


def connect(url: str) -> bytes:
    with socks6.connect(url, "example.com", 80, timeout=5) as sock:
        assert_type(sock, socket.socket)
        sock.sendall(b"hello")
        return sock.recv(10)


def use(client: socks6.sync.Client) -> float:
    with client, client.connect("example.com", 80, options=socks6.StackOptions(tos=16)) as sock:
        assert_type(sock, socket.socket)
    sock = client.create_connection(("example.com", 80), 3)
    with client.listen(backlog=4) as listener:
        assert_type(listener.bound, Endpoint)
        assert_type(listener.accept(timeout=1), tuple[socket.socket, Endpoint])
    with client.associate() as udp:
        udp.send(b"", ("example.com", 53))
        assert_type(udp.receive(timeout=2.5), tuple[bytes, Endpoint])
    assert_type(client.check(), socks6.ProxyCheck)
    connection = http.client.HTTPConnection("example.com")
    connection.sock = sock
    try:
        return client.noop(timeout=None)
    except socks6.ProxyTimedOut as error:
        raise SystemExit(error.errno) from error


def run(url: str) -> None:
    with socks6.sync.local_proxy(url) as proxy:
        assert_type(proxy, LocalProxy)
        subprocess.run(["curl", "http://example.com"], env=proxy.environment, check=True)


async def run_async(client: socks6.Client) -> None:
    async with socks6.local_proxy(client) as proxy:
        assert_type(proxy.url, str)


def old(sock: socks.socksocket) -> socket.socket:
    sock.set_proxy(socks.SOCKS5, "proxy.example", 1080, True, "alice", "secret")
    try:
        sock.connect(("example.com", 80))
    except socks.SOCKS5Error as error:
        print(error.msg, error.socket_err)
    return socks.create_connection(("example.com", 80), timeout=3, proxy_type=socks.HTTP, proxy_addr="h")


async def judge(request: ProxyRequest, client: ConnectionInfo) -> None:
    if request.port == 25:
        raise NotAllowed(f"no mail for {client.user}")


RULE: RequestJudge = judge
WORKER = ServerWorker(judge_request=judge)
