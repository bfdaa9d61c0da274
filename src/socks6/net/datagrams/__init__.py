"""Datagrams with real sockets of this machine: ports, routes to remote hosts, filtering, ICMP errors."""
