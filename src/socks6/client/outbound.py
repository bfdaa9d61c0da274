"""The way out through an upstream SOCKS 6 proxy."""

from dataclasses import replace

from typing_extensions import override

from socks6.client.client import Client
from socks6.errors import CommandNotSupported, GeneralFailure, OperationFailed, Socks6Error
from socks6.message.codes import Leg
from socks6.message.options import StackOption
from socks6.message.requests import MAX_INITIAL_DATA
from socks6.net.stream import Binding, Connection, Judge, Outbound


class Socks6Outbound(Outbound):
    """Carries calls to an upstream proxy, which resolves the names and answers for the addresses."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    @override
    def resolves(self) -> bool:
        return False

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
    ) -> Connection:
        """See `Outbound.connect`: the upstream's reply code is ours; a fault of the upstream itself is 01."""
        initial_data = first_data[:MAX_INITIAL_DATA]
        try:
            stream = await self._client.connect(host, port, initial_data=initial_data, options=options)
        except OperationFailed:
            raise
        except (Socks6Error, ValueError) as error:
            raise GeneralFailure(f"upstream: {error}") from error
        return Connection(
            stream=stream,
            bound=stream.bound,
            options=_about_the_remote(stream.options),
            first_data_sent=len(initial_data),
        )

    @override
    async def bind(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        judge_peer: Judge,
        options: tuple[StackOption, ...] = (),
        backlog: int = 0,
    ) -> Binding:
        """See `Outbound.bind`: the client has no BIND yet."""
        raise CommandNotSupported("no BIND through another proxy")

    @override
    async def aclose(self) -> None:
        """Nothing is shared between connections."""


def _about_the_remote(options: tuple[StackOption, ...]) -> tuple[StackOption, ...]:
    """Return what the upstream told of its far leg; its near one is nobody's but ours."""
    far = (option for option in options if option.leg & Leg.PROXY_REMOTE)
    return tuple(
        option if option.leg == Leg.PROXY_REMOTE else replace(option, leg=Leg.PROXY_REMOTE) for option in far
    )
