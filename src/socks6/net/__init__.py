"""Sockets and the operating system."""
