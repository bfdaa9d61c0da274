"""The proxy: serves clients of any protocol, through any outbound.

Five words: an **inbound** is a protocol that clients speak; a **connection** is one client; a **request** is what it asks
for; an **outbound** reaches the world; a **session** spans requests of one client (SOCKS 6).
"""
