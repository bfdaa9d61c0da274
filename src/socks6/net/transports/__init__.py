"""What carries byte streams: TCP, Unix sockets, TLS, QUIC; and datagrams beside them: DTLS."""
