"""The outbound through an upstream proxy: converters and chains."""

import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

from socks6.client.bind import BindListener
from socks6.client.client import Client, proxied
from socks6.client.monitor import UPSTREAM_ERRORS, UpstreamMonitor
from socks6.client.upstream_channel import UpstreamChannel
from socks6.compat import override
from socks6.errors import GeneralFailure, OperationFailed, Socks6Error, UpstreamFailed
from socks6.message.codes import Leg
from socks6.message.options import ListenBacklog, StackOption
from socks6.message.requests import MAX_INITIAL_DATA
from socks6.net.stream import (
    AcceptedPeer,
    Binding,
    ConnectResult,
    DatagramChannel,
    DatagramJudge,
    Endpoint,
    Judge,
    Outbound,
)
from socks6.net.upstream import UpstreamStatus
from socks6.telemetry import Observer

if sys.platform == "linux":
    from socks6.net.poller import Poller


class UpstreamOutbound(Outbound):
    """Connects, binds and associates at an upstream proxy, which resolves names and judges addresses.

    With the client's `fast_open`, a CONNECT with first data spends a token, so that the data may travel in the SYN.
    """

    def __init__(self, client: Client, monitor: UpstreamMonitor | None = None) -> None:
        self.client: Final = client
        client.keep_spares()
        self.monitor: Final = monitor or UpstreamMonitor(client)
        self._name: Final = client.url.place

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
        holder: Hashable = None,
    ) -> ConnectResult:
        """See `Outbound.connect`. Raises the upstream's reply code; 01 if the upstream itself fails."""
        initial_data = first_data[:MAX_INITIAL_DATA]
        with self._reported():
            granted = await self.client.request_connect(
                host,
                port,
                initial_data=initial_data,
                options=self._carried(options),
                idempotent=self.client.fast_open and bool(initial_data),
            )
        return ConnectResult(
            # only one within a session has something to give back when it is closed
            stream=granted.stream if granted.lease is None else proxied(granted),
            bound=granted.bound,
            options=_about_the_remote(granted.options) if granted.reply.options else (),
            first_data_sent=len(initial_data),
            outbound=self.name,
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
        holder: Hashable = None,
        instead: Sequence[Sequence[str]] = (),
    ) -> Binding:
        """See `Outbound.bind`. The upstream judges the bound address; `judge_peer` judges peers here too."""
        with self._reported():
            listener = await self.client.bind(
                host, port, backlog=backlog, options=self._carried(options), eager=False
            )
        return UpstreamBinding(listener, judge_peer)

    @override
    async def associate(
        self,
        host: str,
        port: int,
        *,
        judge: DatagramJudge,
        options: tuple[StackOption, ...] = (),
        owner: Hashable = None,
        holder: Hashable = None,
    ) -> DatagramChannel:
        """See `Outbound.associate`. The port is the upstream's, which resolves the names of datagrams."""
        with self._reported():
            association = await self.client.open_association(host, port, options=self._carried(options))
        return UpstreamChannel(
            association,
            may_send=judge.judge_name,
            may_answer=judge.judge_source,
            options=_about_the_remote(association.options),
        )

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    def monitors(self) -> tuple[UpstreamMonitor, ...]:
        """The monitor of each upstream."""
        return (self.monitor,)

    @property
    @override
    def upstream(self) -> UpstreamStatus:
        return self.monitor.status

    @override
    def refresh(self, max_age: float) -> None:
        self.monitor.refresh(max_age)

    @override
    def poll_with(self, poller: "Poller") -> None:
        self.client.poll_with(poller)

    @override
    def report_to(self, observer: Observer) -> None:
        self.monitor.report_to(observer)

    @override
    async def aclose(self) -> None:
        """Tear down the session with the upstream."""
        await self.client.aclose()

    def _carried(self, options: tuple[StackOption, ...]) -> tuple[StackOption, ...]:
        """Return what a client's options come to at the upstream: one of another protocol than SOCKS 6 takes none."""
        return options if self.client.speaks_socks6 else ()

    def _reported(self) -> "_Reported":
        return _Reported(self.monitor)


class UpstreamBinding(Binding):
    """A port that listens at the upstream."""

    def __init__(self, listener: BindListener, judge_peer: Judge) -> None:
        self._listener = listener
        self._judge_peer = judge_peer
        self._over = False  # the one peer has come

    @property
    @override
    def bound(self) -> Endpoint:
        return self._listener.bound

    @property
    @override
    def options(self) -> tuple[StackOption, ...]:
        options = _about_the_remote(self._listener.options)
        return tuple(option for option in options if not isinstance(option, ListenBacklog))

    @property
    @override
    def backlog(self) -> int:
        return self._listener.backlog

    @override
    async def accept(self) -> AcceptedPeer:
        """See `Binding.accept`. Peers that may not connect are reset."""
        if self._over:
            raise GeneralFailure("the one peer of a BIND without backlog has come")
        while True:
            with _Reported():
                stream = await self._listener.accept()
            if self._judge_peer(stream.peer.host, stream.peer.port):
                break
            stream.abort()
        self._over = not self._listener.backlog
        return AcceptedPeer(stream=stream, peer=stream.peer, options=_about_the_remote(stream.options))

    @override
    async def aclose(self) -> None:
        await self._listener.aclose()


class _Reported:
    """Turns failures within a block into the reply codes that clients get, and records what they say of the upstream."""

    __slots__ = ("_monitor",)

    def __init__(self, monitor: UpstreamMonitor | None = None) -> None:
        self._monitor = monitor

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _: object, error: BaseException | None, _trace: object) -> None:
        """Raise the upstream's reply code as it is, and 01 for a failure of the upstream itself."""
        if self._monitor is not None:
            self._monitor.note(error)
        match error:
            case None | OperationFailed():
                return
            case _ if isinstance(error, UPSTREAM_ERRORS):
                raise UpstreamFailed(f"upstream: {error}") from error
            case Socks6Error() | ValueError():
                raise GeneralFailure(f"upstream: {error}") from error
            case OSError():  # closed meanwhile
                raise GeneralFailure(str(error)) from error
            case _:
                return


def _about_the_remote(options: tuple[StackOption, ...]) -> tuple[StackOption, ...]:
    """Return the options of the upstream's remote leg; its client leg is this proxy's own affair."""
    far = (option for option in options if option.leg & Leg.PROXY_REMOTE)
    return tuple(
        option if option.leg == Leg.PROXY_REMOTE else replace(option, leg=Leg.PROXY_REMOTE) for option in far
    )
