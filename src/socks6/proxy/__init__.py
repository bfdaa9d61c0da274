"""The proxy: serves clients of any protocol, by any way out.

Five words: an **inbound** is a protocol that clients speak; a **connection** is one client; a **request** is what it asks
for; an **outbound** reaches the world; a **session** spans requests of one client (SOCKS 6).
"""
