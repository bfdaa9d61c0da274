"""The library that talks to a SOCKS 6 proxy."""
