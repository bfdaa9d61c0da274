"""Blocking calls: the library for programs without an event loop.

::

    import socks6.sync

    with socks6.sync.Client("socks6+tls://user:password@proxy.example") as client:
        with client.connect("example.com", 80) as sock:  # a socket.socket
            sock.sendall(b"GET / HTTP/1.0\\r\\nHost: example.com\\r\\n\\r\\n")
            print(sock.recv(65536))

All calls may be made by any thread, within a running event loop too (which they then hold up). One thread of the library's own,
which starts with the first call, does the work of all clients; a process that was forked starts another.
"""

from socks6.client.sockets import ProxiedSocket
from socks6.sync.client import Association, Client, Listener, connect
from socks6.sync.local import local_proxy

__all__ = ["Association", "Client", "Listener", "ProxiedSocket", "connect", "local_proxy"]
