"""Opens associations' ports on this machine (§ Handling UDP ASSOCIATE)."""

from collections.abc import Hashable
from dataclasses import field
from typing import Final

from socks6.dataclass import dataclass
from socks6.errors import NotAllowed
from socks6.message.codes import Availability, Leg
from socks6.message.options import PortParity, StackOption, UdpError, find
from socks6.net.bind import unmapped
from socks6.net.datagrams.channel import DirectChannel
from socks6.net.datagrams.filtering import REMOTE_SECONDS, Filtering, RemoteFilter
from socks6.net.datagrams.names import NameCache
from socks6.net.datagrams.ports import OpenedPort, PortAllocator
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.sockets import endpoint
from socks6.net.stackopts.icmp_errors import SUPPORTED
from socks6.net.stackopts.table import effective_options, for_leg
from socks6.net.stream import DatagramJudge


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramSettings:
    """What an operator may set about the ports of associations."""

    filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT
    remote_timeout: float = REMOTE_SECONDS  # how long remotes may answer a silent client; only with a filter
    multicast_interface: str = ""  # where groups are joined and sent to; "": where the routes lead


USUAL: Final = DatagramSettings()


@dataclass(slots=True)
class DirectAssociations:
    """What the associations of one machine share."""

    resolver: Resolver
    settings: DatagramSettings = USUAL
    _names: NameCache = field(init=False)
    _allocator: PortAllocator = field(init=False)

    def __post_init__(self) -> None:
        self._names = NameCache(self.resolver)
        self._allocator = PortAllocator(multicast_interface=self.settings.multicast_interface)

    async def open(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...],
        owner: Hashable,
        holder: Hashable = None,
    ) -> DirectChannel:
        """See `Outbound.associate`. Raises OSError."""
        wanted = for_leg(options, Leg.PROXY_REMOTE)
        address = await self._place(host, port, judge, owner=owner, holder=holder)
        opened = self._allocator.open(address, wanted, find(options, PortParity), owner)
        try:
            return DirectChannel(
                opened,
                bound=endpoint(opened.sock.getsockname()),
                ports=self._allocator,
                names=self._names,
                remotes=RemoteFilter(self.settings.filtering, lifetime=self.settings.remote_timeout),
                judge=judge,
                wanted=wanted,
                options=_in_force(opened, wanted, options),
                reports=_wants_reports(options),
                holder=holder,
            )
        except BaseException:
            opened.release()
            opened.sock.close()
            raise

    async def aclose(self) -> None:
        """Free what the associations share. Idempotent."""
        await self._names.aclose()
        self._allocator.close()

    async def _place(
        self, host: str, port: int, judge: DatagramJudge, *, owner: Hashable, holder: Hashable
    ) -> ResolvedAddress:
        """Return where to bind."""
        for address in await self.resolver.resolve(unmapped(host), port, holder=holder):
            # a port that is held for its owner was drawn for it, as any free one is
            held = self._allocator.holds_for(owner, address)
            if judge.judge_place(host, address.host, 0 if held else port):
                return address
        raise NotAllowed(f"no address of {host} may be bound")


def _wants_reports(options: tuple[StackOption, ...]) -> bool:
    wish = find(options, UdpError)
    return wish is not None and wish.availability == Availability.YES


def _in_force(
    opened: OpenedPort, wanted: tuple[StackOption, ...], options: tuple[StackOption, ...]
) -> tuple[StackOption, ...]:
    found = effective_options(opened.sock, wanted, Leg.PROXY_REMOTE)
    if opened.parity is not None:
        found = (*found, opened.parity)
    if find(options, UdpError) is None:
        return found
    reported = SUPPORTED and _wants_reports(options)
    return (*found, UdpError(availability=Availability.YES if reported else Availability.NO))
