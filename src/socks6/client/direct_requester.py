"""Connections without a proxy, in the place of requests: to hosts that are excluded (NO_PROXY), or to all of them (direct://)."""

from typing import Final

from socks6.client.environment import NoProxy
from socks6.client.requester import GrantedRequest, RequestMaker
from socks6.dataclass import dataclass
from socks6.errors import CommandNotSupported, GeneralFailure
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import StackOption, find_all
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.direct import DirectOutbound
from socks6.net.scopes import on_failure

ONLY_CONNECT: Final = (
    "without a proxy there are connections alone: no BIND, no UDP ASSOCIATE, nothing to check"
)


class DirectRequester:
    """Connects to hosts itself. Stack options are those of its own sockets, which are the remote's leg."""

    def __init__(self, outbound: DirectOutbound | None = None) -> None:
        self._outbound: Final = outbound or DirectOutbound()

    async def request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,  # noqa: ARG002 - nothing doubles it
        needs_session: bool = False,  # noqa: ARG002
        within: GrantedRequest | None = None,  # noqa: ARG002
    ) -> GrantedRequest:
        """Connect, and send the initial data. Raises OperationFailed."""
        if request.command != Command.CONNECT:
            raise CommandNotSupported(ONLY_CONNECT)
        result = await self._outbound.connect(
            request.host,
            request.port,
            judge=_anywhere,
            options=tuple(find_all(request.options, StackOption)),
            first_data=initial_data,
        )
        with on_failure(result.stream.abort):
            try:
                await result.stream.send(initial_data[result.first_data_sent :])
            except OSError as error:
                raise GeneralFailure(f"the connection broke: {error}") from error
        bound, options = result.bound, result.options
        reply = OperationReply(code=ReplyCode.SUCCEEDED, host=bound.host, port=bound.port, options=options)
        return GrantedRequest(stream=result.stream, reply=reply)

    async def open_session(self) -> bool:
        """Return that there is no session."""
        return False

    async def aclose(self) -> None:
        """Free what connecting has left. Raises nothing."""
        await self._outbound.aclose()


def _anywhere(address: str, port: int) -> bool:  # noqa: ARG001 - a Judge
    return True


@dataclass(frozen=True, slots=True)
class ExcludingRequester:
    """Makes requests of a proxy, but connects directly to the hosts that are excluded."""

    proxy: RequestMaker
    direct: RequestMaker
    no_proxy: NoProxy

    async def request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,
        needs_session: bool = False,
        within: GrantedRequest | None = None,
    ) -> GrantedRequest:
        """See `Requester.request`."""
        is_direct = request.command == Command.CONNECT and self.no_proxy.excludes(request.host, request.port)
        return await (self.direct if is_direct else self.proxy).request(
            request, initial_data, idempotent=idempotent, needs_session=needs_session, within=within
        )

    async def open_session(self) -> bool:
        """See `Requester.open_session`."""
        return await self.proxy.open_session()

    async def aclose(self) -> None:
        """Close both."""
        await self.proxy.aclose()
        await self.direct.aclose()
