"""What TLS needs besides sockets: contexts, certificates, pins. Nothing in it knows of a transport."""
