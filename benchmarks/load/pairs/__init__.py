"""Pairs that users choose between: a client's process and a server's, ours and others', side by side."""
