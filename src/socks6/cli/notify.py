"""Tells a service manager how the service is (sd_notify(3)), if there is one."""

import os
import socket


def notify(state: str) -> None:
    """Send a state such as READY=1 to where NOTIFY_SOCKET points; a failure changes nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError:
        pass
