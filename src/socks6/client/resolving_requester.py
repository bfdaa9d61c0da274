"""Has a client's names resolved on this machine, and asks the proxy for their addresses one after the other."""

from dataclasses import field, replace
from socket import AF_INET

from socks6.client.requester import GrantedRequest, RequestMaker
from socks6.dataclass import dataclass
from socks6.errors import HostUnreachable, OperationFailed, operation_failure
from socks6.message.address import is_literal
from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.dial import MAX_ADDRESSES, reply_for
from socks6.net.resolve import Resolver


@dataclass(frozen=True, slots=True)
class ResolvingRequester:
    """Makes requests by another requester, a CONNECT to each address of a name until one is granted."""

    _requester: RequestMaker
    ipv4_only: bool
    _resolver: Resolver = field(default_factory=Resolver)

    async def request(
        self,
        request: Request,
        initial_data: bytes = b"",
        *,
        idempotent: bool = False,
        needs_session: bool = False,
        within: GrantedRequest | None = None,
    ) -> GrantedRequest:
        """See `Requester.request`. Raises OperationFailed for names that lead nowhere, too."""
        failure: OperationFailed = HostUnreachable(f"{request.host} has no IPv4 address")
        for host in await self._hosts_of(request):
            try:
                return await self._requester.request(
                    replace(request, host=host),
                    initial_data,
                    idempotent=idempotent,
                    needs_session=needs_session,
                    within=within,
                )
            except OperationFailed as error:
                failure = error
        raise failure

    async def open_session(self) -> bool:
        """See `Requester.open_session`."""
        return await self._requester.open_session()

    async def aclose(self) -> None:
        """Close the other requester."""
        await self._requester.aclose()

    async def _hosts_of(self, request: Request) -> list[str]:
        if request.command != Command.CONNECT or is_literal(request.host):
            return [request.host]
        try:
            addresses = await self._resolver.resolve(request.host, request.port)
        except OSError as error:
            raise operation_failure(reply_for(error), f"{request.host}: {error.strerror or error}") from error
        wanted = [address.host for address in addresses if address.family == AF_INET or not self.ipv4_only]
        return wanted[:MAX_ADDRESSES]
