"""A server of one's own: users, rules, and a line for each connection.

python examples/serve.py socks6://127.0.0.1:1080 mixed://127.0.0.1:1081
"""

import asyncio
import sys

from typing_extensions import override

from socks6 import ConnectionEnded, Event, Listening, Observer, Policy, Rule, Server, ServerWorker, UserTable


class Printer(Observer):
    """Prints where clients went."""

    wants = (Listening, ConnectionEnded)

    @override
    def observe(self, event: Event) -> None:
        match event:
            case Listening():
                print(f"listening on {event.url}", flush=True)
            case ConnectionEnded():
                print(
                    f"{event.user} {event.command} {event.host}:{event.port} {event.ending.value}", flush=True
                )
            case _:
                pass


async def serve(*urls: str) -> None:
    """Serve until cancelled."""
    worker = ServerWorker(
        authenticator=UserTable.from_plain({"alice": "wonderland"}),
        policy=Policy(allow_private=True, rules=(Rule.parse("deny", ports=["25"]),)),
        observers=[Printer()],
    )
    async with Server(urls, worker) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
