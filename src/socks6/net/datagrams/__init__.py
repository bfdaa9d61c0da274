"""Datagrams with real sockets of this machine: ports, ways to remote hosts, filtering, ICMP errors."""
