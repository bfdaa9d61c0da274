"""Chains of proxies: how the next one is reached through the one before it."""

from socks6.client.connector import ProxyConnector
from socks6.client.requester import RequestMaker
from socks6.dataclass import dataclass
from socks6.errors import AuthenticationFailed, OperationFailed, ProxyUnreachable
from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.stream import ByteStream
from socks6.net.transports.base import Polling


@dataclass(frozen=True, slots=True)
class ChainedHop:
    """A proxy that the next one is reached through; its failures are told from those of a destination."""

    connector: ProxyConnector
    requester: RequestMaker

    @property
    def polling(self) -> Polling:
        """How its streams wait."""
        return self.connector.polling

    async def reach(self, host: str, port: int) -> ByteStream:
        """Return a stream to the next proxy. Raises AuthenticationFailed, ProxyUnreachable, RemoteProtocolError."""
        url = self.connector.url.brief
        try:
            granted = await self.requester.request(Request(command=Command.CONNECT, host=host, port=port))
        except OperationFailed as error:
            raise ProxyUnreachable(f"through {url}: {error.reason}", errno=error.errno) from error
        except AuthenticationFailed as error:
            raise AuthenticationFailed(f"{url}: {error}") from error
        return granted.stream
