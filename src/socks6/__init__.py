"""SOCKS version 6: client, server and converter."""
