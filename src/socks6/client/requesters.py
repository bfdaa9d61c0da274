"""Chooses what makes a client's requests: by what the proxy speaks, by who resolves names, and by what needs no proxy.

What is not for SOCKS 6 is imported when a URL wants it.
"""

from collections.abc import Sequence

from socks6.client.connector import ProxyConnector
from socks6.client.requester import MethodFactory, Requester, RequestMaker
from socks6.client.session import ClientSession
from socks6.message.dialect import Dialect
from socks6.message.options import OptionTable
from socks6.net.url import DIRECT


def requester_for(
    connector: ProxyConnector,
    *,
    methods: Sequence[MethodFactory],
    dialect: Dialect,
    option_table: OptionTable,
    session: bool | None,
    no_proxy: str,
) -> RequestMaker:
    """Return what makes requests as the connector's URL says, and connects directly to hosts in `no_proxy`.

    Raises ConfigurationError for credentials that the protocol cannot carry.
    """
    url = connector.url
    if url.spoken == DIRECT:
        from socks6.client.direct_requester import DirectRequester  # noqa: PLC0415

        return DirectRequester()
    requester: RequestMaker
    if url.spoken == "socks6":
        requester = Requester(
            connector,
            methods=methods,
            dialect=dialect,
            option_table=option_table,
            session=ClientSession(enabled=bool(methods) if session is None else session),
        )
    else:
        from socks6.client.older_requester import OlderRequester, credentials_of  # noqa: PLC0415

        requester = OlderRequester(connector, credentials_of(url))
    if url.resolves_here:
        from socks6.client.resolving_requester import ResolvingRequester  # noqa: PLC0415

        requester = ResolvingRequester(requester, ipv4_only=url.spoken == "socks4")
    if no_proxy:
        from socks6.client.direct_requester import DirectRequester, ExcludingRequester  # noqa: PLC0415
        from socks6.client.environment import NoProxy  # noqa: PLC0415

        requester = ExcludingRequester(requester, DirectRequester(), NoProxy.parse(no_proxy))
    return requester
