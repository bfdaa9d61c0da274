"""The end of a connection, as an event."""

from socks6.telemetry import ConnectionEnded, Ending


def ended(number: int = 1, **fields: object) -> ConnectionEnded:
    """Return the end of a connection; `fields` are those that differ."""
    facts: dict[str, object] = {
        "id": number,
        "inbound": "mixed",
        "source": "192.0.2.1",
        "user": "alice",
        "command": "CONNECT",
        "host": "example.com",
        "port": 443,
        "ending": Ending.DONE,
        "reply": 0,
        "reason": "",
        "seconds": 1.2346,
        "bytes_up": 10,
        "bytes_down": 2_000_000,
        **fields,
    }
    return ConnectionEnded(**facts)  # type: ignore[arg-type]
