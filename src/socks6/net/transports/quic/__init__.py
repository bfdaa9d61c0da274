"""QUIC: streams and datagrams of one connection, over whichever library there is."""
