"""Bytes after the handshake."""
