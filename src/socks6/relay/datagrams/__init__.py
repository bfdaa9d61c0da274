"""Datagrams between a client of the proxy and its association's port."""
