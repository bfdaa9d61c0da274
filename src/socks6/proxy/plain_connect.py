"""Plain CONNECTs, served by callbacks from accept to close: no task, and mostly no conversation.

A CONNECT is plain if it comes in one piece, over TCP or TLS, or on a stream of QUIC whose client was admitted, to an IP address that this proxy reaches itself, and nothing
has to be waited for to know its client: most have no options, and cost 119 Python calls instead of 389 (`python -m benchmarks
counting`); those with credentials or a session go through a conversation at once (`PlainAdmission.admit_nowait`).
Whatever else a client sends, and whatever must wait for more than the client's bytes, goes on in `ServerWorker.serve`, with
what was read so far: a remote that takes its time, an answer that is not taken at once, a refusal, the end of a relay that
broke. So does what an upstream proxy is asked for, once the request was read: there, a name is plain, too.

No rule stands here: decisions and records are the methods of `ClientConnection`, the rules `commands.judge_literal`, the sockets
`DirectOutbound.begin_connecting`, the bytes the protocol's `PlainForm`, moving them `StreamRelay.join`. The property test
`tests/property/test_plain_connects.py` holds both ways to the same answers and events.
"""

import functools
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from socks6.errors import OperationFailed, TlsFailed
from socks6.message.address import UNSPECIFIED, UNSPECIFIED_IPV4, is_literal
from socks6.message.codes import Command
from socks6.net.accept import ConnectionLimits
from socks6.net.direct import DirectOutbound
from socks6.net.eager import EagerTaskGroup
from socks6.net.machine_io import READ_SIZE
from socks6.net.sockets import (
    SocketStream,
    close_descriptor,
    close_in_order,
    own_endpoint,
    tune,
)
from socks6.net.stream import ByteStream, ClosableStream, EventStream
from socks6.net.transports.tls import TlsStream
from socks6.net.wire_log import wire_trace
from socks6.policy.identity import ANONYMOUS
from socks6.proxy.commands import ProxyRequest, judge_literal
from socks6.proxy.connection import ClientConnection
from socks6.proxy.inbounds.base import PlainForm, PlainInbound, Tunnel, first_bytes
from socks6.proxy.limits import holder_of
from socks6.proxy.multiplexed import QuicConnectionContext
from socks6.proxy.worker import ServerWorker
from socks6.relay.datagrams.client_ports import ClientPort
from socks6.relay.delivery import end_in_order
from socks6.telemetry import Ending

if sys.platform == "linux":
    from socks6.net.poller import Poller
    from socks6.relay.polled import PolledStreams

CONNECT: Final = Command.CONNECT.value  # as a plain number: to hash the member of an Enum is a Python call


class PlainConnects:
    """Serves the plain CONNECTs of one listener's clients, which `limits` has admitted; `group` owns them.

    Without `outbound` the worker's own one is asked in a task.
    """

    def __init__(
        self,
        worker: ServerWorker,
        inbound: str,
        *,
        outbound: DirectOutbound | None,
        poller: "Poller",
        limits: ConnectionLimits,
        group: EagerTaskGroup,
        client_port: ClientPort | None = None,
        quic: QuicConnectionContext | None = None,
    ) -> None:
        """`quic` is the connection whose streams they are, then `limits` has counted them in by source."""
        self.worker: Final = worker
        self.inbound: Final = inbound
        protocol = worker.inbound(inbound)
        self.forms: Final = protocol.plain_forms if isinstance(protocol, PlainInbound) else {}
        self.admits: Final = any(form.admit is not None for form in self.forms.values())
        self.outbound: Final = outbound
        self.poller: Final = poller
        self.limits: Final = limits
        self.group: Final = group
        self.client_port: Final = client_port
        self.quic: Final = quic
        self.on_admitted: Final = limits.mark_known if quic is None else None

    def serve(self, stream: ByteStream) -> bool:
        """Serve a client, whose socket is reset by closing it, to its end; False if its request cannot be a plain one."""
        worker = self.worker
        if not self.forms or worker.settings.copy_tos or worker.judge_request or wire_trace(""):
            return False
        if isinstance(stream, SocketStream):
            if worker.authenticator.required and not self.admits:
                return False
            _PlainConnect(self, stream, stream.send_nowait, stream).go_on()
        elif isinstance(stream, TlsStream) and isinstance(stream.beneath, SocketStream):
            _PlainConnect(
                self, stream, stream.send_nowait, stream.beneath
            ).go_on()  # its certificate may say who the client is
        elif isinstance(stream, EventStream) and self.quic is not None and self.quic.is_open:
            _PlainConnect(self, stream, stream.send_nowait, stream).go_on()
        else:
            return False
        return True

    def leave(self, connection: ClientConnection) -> None:
        """Count out a client that is gone."""
        if self.quic is None:
            self.limits.release(connection.stream)
        else:
            self.quic.streams -= 1
            self.limits.leave(connection.source)


class _PlainConnect:
    """One client."""

    __slots__ = (
        "_authenticates", "_carrier", "_connection", "_first", "_form", "_joined", "_remote", "_send_nowait", "_shared", "_stream",
    )  # fmt: skip

    def __init__(
        self,
        shared: PlainConnects,
        stream: ByteStream,
        send_nowait: Callable[[bytes], int],
        carrier: SocketStream | EventStream,
    ) -> None:
        """`carrier` is the stream's socket: the stream itself, unless it speaks TLS. One of QUIC has none."""
        self._shared = shared
        self._stream = stream
        self._send_nowait = send_nowait
        self._carrier = carrier
        self._connection = shared.worker.open(
            stream,
            shared.inbound,
            client_port=shared.client_port,
            on_admitted=shared.on_admitted,
            shared=shared.quic,
        )
        self._first = False  # whether those of its QUIC connection wait for it to be authenticated
        if shared.quic is None:
            self._authenticates = shared.worker.authenticator.required  # unless its certificate does
        else:
            self._authenticates = False  # another stream has
            shared.quic.streams += 1
        self._form: PlainForm | None = None  # once the client has greeted
        self._joined: PolledStreams | None = None
        self._remote: socket.socket | None = None
        shared.group.add(self)

    def go_on(self) -> None:
        """Read, and do what the bytes allow; the stream may have been closed, too."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - as in `ServerWorker.serve`
            self._fail(error)

    def cancel(self) -> None:
        """End at once: the server stops."""
        self._connection.ending = Ending.STOPPED
        if self._joined is None:
            self._stream.abort()  # calls `go_on`, if it waits
        else:
            self._joined.end(Ending.STOPPED)

    def _read(self) -> None:
        if (
            self._carrier is not self._stream
            and not self._connection.secured
            and isinstance(self._stream, TlsStream)
            and not self._secure(self._stream)
        ):
            return
        data = self._stream.receive_nowait(READ_SIZE)
        if data is None:
            self._wait()
            return
        form = self._form or (self._shared.forms.get(data[0]) if data else None)
        quic = self._shared.quic
        session = None if quic is None else quic.session
        if (
            form is None
            or (self._authenticates and form.admit is None)
            or (quic is not None and session is None)
        ):
            self._take_long_way(data)
        elif form.is_greeting is not None and self._form is None:
            self._greet(form, data)
        elif (
            self._authenticates
            or (plain := form.read_connect(data, names=self._shared.outbound is None)) is None
            or not plain[1]
            or plain[0] in UNSPECIFIED
        ):
            self._admit(form, data)
        else:
            host, port, size = plain
            connection = self._connection
            identity = session.identity if session is not None else connection.certified or ANONYMOUS
            self._carry_out(
                ProxyRequest(
                    command=CONNECT,
                    host=host,
                    port=port,
                    identity=identity,
                    session=None if session is None else connection.admitted(identity, None),
                    initial_data=data[size:],
                ),
                form,
            )

    def _secure(self, stream: TlsStream) -> bool:
        """Shake hands as far as the client's bytes allow; return whether that is done, and its request may be plain."""
        connection, worker = self._connection, self._shared.worker
        try:
            agreed = stream.handshake_nowait(quiet=worker.settings.quiet)
            if agreed:
                worker.secured(connection, stream, worker.inbound(connection.inbound))
        except TlsFailed as failure:
            self._continue_in_task(self._leave_unsecured(stream, failure))
            return False
        if stream.stuck:
            self._take_long_way(b"")
            return False
        if agreed:
            self._authenticates = connection.authentication_required
        else:
            self._wait()
        return agreed

    def _wait(self) -> None:
        connection, shared = self._connection, self._shared
        shared.worker.monitor.add_handshake(connection.id, connection.deadline, connection.expire)
        carrier = self._carrier
        if isinstance(carrier, SocketStream):
            carrier.watch_readable(shared.poller, self.go_on)
            return
        carrier.report_to(self.go_on)
        if carrier.readable:
            self._read()

    def _stop_waiting(self) -> None:
        if isinstance(self._carrier, SocketStream):
            self._carrier.on_readable = None
        else:
            self._carrier.report_to(None)

    def _let_close(self) -> None:
        """Have closing reset the client no more."""
        if isinstance(self._carrier, SocketStream):
            close_in_order(self._carrier.raw_socket)

    def _greet(self, form: PlainForm, data: bytes) -> None:
        """Answer a greeting, and wait for the request."""
        if form.is_greeting is None or not form.is_greeting(data):
            self._take_long_way(data)
            return
        self._form = form
        self._connection.greeting = data
        if unsent := self._send(form.welcome):
            self._take_long_way(b"", unsent)
        else:
            self._wait()

    def _admit(self, form: PlainForm, data: bytes) -> None:
        """Carry out a request with options, as credentials or a session's id, if nothing of it takes waiting."""
        if form.admit is None:
            self._take_long_way(data)
            return
        if form.admit_by_session is not None and self._shared.quic is None:
            names = self._shared.outbound is None
            admitted = form.admit_by_session(self._connection, data, names=names)
            if admitted is not None:
                self._carry_out(*admitted)
                return
        admission = form.admit(self._connection, data)
        request = admission.admit_nowait()
        if request is not None and self._is_plain(request):
            self._carry_out(request, admission.form())
        else:
            self._continue_in_task(self._shared.worker.handshake(self._connection, data, admission))

    def _is_plain(self, request: ProxyRequest) -> bool:
        """Return whether an admitted request is a CONNECT without stack options, to where one need not look up."""
        return (
            request.command == CONNECT
            and not request.options
            and request.port != 0
            and request.host not in UNSPECIFIED
            and (self._shared.outbound is None or is_literal(request.host))
        )

    def _carry_out(self, request: ProxyRequest, form: PlainForm) -> None:
        """Judge, connect, answer, relay."""
        connection, shared = self._connection, self._shared
        if shared.outbound is None or form.optimistic:
            connect = self._connect_optimistically if form.optimistic else self._connect_by_worker
            self._continue_in_task(connect(request, form), self._relay_streams)
            return
        connection.begin(request)
        try:
            connection.admit(request)
            judge_literal(request, shared.worker.policy)
            holder = holder_of(request.identity, connection.source)
            outbound = shared.outbound
            if outgoing := request.identity.limits.outgoing:
                outbound = outbound.from_address(outgoing)
            sock, connected = outbound.begin_connecting(request.host, request.port, holder, tuned=False)
        except OperationFailed as failure:
            connection.failed(request, failure)
            unsent = self._send(form.admitted + form.failure(failure, connection))
            self._continue_in_task(self._answered(None, unsent))
            return
        if not connected:
            self._continue_in_task(self._wait_connected(shared.outbound, request, form, sock))
            return
        self._remote = sock  # which `_fail` closes
        unsent = self._send(form.admitted + self._success(form, sock))
        if unsent or not self._relay(sock, request.initial_data):
            self._continue_in_task(self._answered(self._tunnel(request, sock), unsent))

    def _tunnel(self, request: ProxyRequest, sock: socket.socket) -> Tunnel:
        remote = SocketStream(sock, loop=self._shared.worker.loop)
        return Tunnel(remote=remote, initial_data=request.initial_data)

    def _success(self, form: PlainForm, sock: socket.socket) -> bytes:
        """Record that the remote is connected; return the reply."""
        bound = own_endpoint(sock)
        self._connection.connected(bound)
        return form.success(bound.host or UNSPECIFIED_IPV4, bound.port)

    def _send(self, data: bytes) -> bytes:
        """Send; return what was not taken. Raises OSError."""
        return data[self._send_nowait(data) :] if data else b""

    # What waits, and is a handshake for `ServerWorker.serve` therefore.

    def _take_long_way(self, data: bytes, unsent: bytes = b"") -> None:
        self._continue_in_task(self._handshake(data, unsent))

    async def _handshake(self, data: bytes, unsent: bytes) -> Tunnel | None:
        if unsent or (
            self._connection.secured and isinstance(self._stream, TlsStream) and self._stream.stuck
        ):
            await self._stream.send(unsent)
        if self._shared.quic is not None:
            self._first = await self._shared.quic.enter()
        return await self._shared.worker.handshake(self._connection, data)

    async def _leave_unsecured(self, stream: TlsStream, failure: TlsFailed) -> None:
        await self._shared.worker.leave_unsecured(self._connection, stream)
        raise failure

    async def _answered(self, tunnel: Tunnel | None, unsent: bytes) -> Tunnel | None:
        """Send the rest of an answer; return the tunnel."""
        try:
            if tunnel is not None and (sock := tunnel.remote.raw_socket) is not None:
                tune(sock)
            if unsent:
                await self._stream.send(unsent)
        except BaseException:
            if tunnel is not None:
                tunnel.remote.abort()
            raise
        return tunnel

    async def _connect_by_worker(self, request: ProxyRequest, form: PlainForm) -> Tunnel | None:
        """Connect as inbounds do."""
        unsent = self._send(form.admitted)
        try:
            remote = await self._connection.connect(request)
        except OperationFailed as failure:
            self._let_close()
            return await self._answered(None, unsent + form.failure(failure, self._connection))
        try:
            bound = remote.bound
            answer = unsent + form.success(bound.host or UNSPECIFIED_IPV4, bound.port)
            if rest := self._send(answer):
                await self._stream.send(rest)
        except BaseException:
            remote.stream.abort()
            raise
        return Tunnel(remote=remote.stream, initial_data=request.initial_data[remote.first_data_sent :])

    async def _connect_optimistically(self, request: ProxyRequest, form: PlainForm) -> Tunnel | None:
        """Answer, then connect as inbounds do, with the client's first bytes; where that fails, the client is reset."""
        if rest := self._send(form.admitted + form.success(UNSPECIFIED_IPV4, 0)):
            await self._stream.send(rest)
        if not request.initial_data:
            request = replace(request, initial_data=await first_bytes(self._stream))
        try:
            remote = await self._connection.connect(request)
        except OperationFailed:
            self._stream.abort()
            return None
        return Tunnel(remote=remote.stream, initial_data=request.initial_data[remote.first_data_sent :])

    async def _wait_connected(
        self,
        outbound: DirectOutbound,
        request: ProxyRequest,
        form: PlainForm,
        sock: socket.socket,
    ) -> Tunnel | None:
        connection = self._connection
        holder = holder_of(request.identity, connection.source)
        try:
            unsent = self._send(form.admitted)
            with connection.watching_client():
                await outbound.finish_connecting(sock, holder)
            unsent += self._success(form, sock)
        except OperationFailed as failure:
            connection.failed(request, failure)
            return await self._answered(None, unsent + form.failure(failure, connection))
        except BaseException:
            sock.close()
            raise
        return await self._answered(self._tunnel(request, sock), unsent)

    def _continue_in_task(
        self,
        handshake: Coroutine[Any, Any, Tunnel | None],
        take_over: Callable[[Tunnel], bool] | None = None,
    ) -> None:
        self._stop_waiting()
        if isinstance(self._carrier, SocketStream):
            self._carrier.poll_with(self._shared.poller)
        group = self._shared.group
        if take_over is None:
            self._let_close()
            group.start(self._serve(handshake, lambda _: False))
        else:  # by callbacks, again, for which closing resets the client
            group.start(self._serve(handshake, take_over))
        if self._joined is None:
            group.remove(self)

    async def _serve(
        self, handshake: Coroutine[Any, Any, Tunnel | None], take_over: Callable[[Tunnel], bool]
    ) -> None:
        taken = False
        try:
            taken = await self._shared.worker.serve(self._connection, handshake, take_over=take_over)
        finally:
            if self._first and self._shared.quic is not None:
                self._shared.quic.first_left(self._connection.ending)
            if not taken:
                self._shared.leave(self._connection)

    # The relay, and the end.

    def _relay(self, remote: socket.socket, first: bytes) -> bool:
        """Join client and remote; False where that takes a task."""
        joined = self._shared.worker.relay.join(self._stream, remote, self._relay_over)
        if joined is None:
            return False
        self._stop_waiting()
        self._joined = joined
        self._connection.relaying_by_callbacks(joined)
        joined.start(first)
        return True

    def _relay_streams(self, tunnel: Tunnel) -> bool:
        """Join client and remote, whatever stream that is; False where that takes a task."""
        shared, remote = self._shared, tunnel.remote
        joined = shared.worker.relay.join_streams(
            self._stream, remote, functools.partial(self._streams_over, remote)
        )
        if joined is None:
            return False
        self._joined = joined
        shared.group.add(self)
        self._connection.relaying_by_callbacks(joined)
        joined.start(tunnel.take_initial_data())
        return True

    def _streams_over(self, remote: ByteStream) -> None:
        joined, group = self._joined, self._shared.group
        assert joined is not None  # noqa: S101
        if joined.ending is Ending.DONE:
            end_in_order(remote)
            if isinstance(remote, ClosableStream) and remote.close_nowait():
                self._let_close()
                if isinstance(self._stream, ClosableStream):
                    self._stream.close_nowait()
                self._release_streams(joined, remote)
                return
        group.start(self._close_streams(joined, remote))
        group.remove(self)

    async def _close_streams(self, joined: "PolledStreams", remote: ByteStream) -> None:
        try:
            await self._shared.worker.relay.close_both(joined, self._stream, remote)
        except Exception as error:  # noqa: BLE001 - as in `ServerWorker.serve`
            self._shared.worker.failed(self._connection, error)
        finally:
            self._release_streams(joined, remote)

    def _release_streams(self, joined: "PolledStreams", remote: ByteStream) -> None:
        remote.abort()
        self._connection.relayed(self._shared.worker.relay.release(joined))
        self._end()

    def _relay_over(self) -> None:
        joined, remote = self._joined, self._remote
        assert joined is not None and remote is not None  # noqa: S101, PT018
        try:
            if joined.ending is Ending.DONE:
                close_in_order(remote)
                self._let_close()
                if self._carrier is not self._stream and isinstance(self._stream, TlsStream):
                    self._stream.discard_received()
                self._carrier.close_nowait()
            elif joined.delivers:
                group = self._shared.group
                group.start(self._deliver(joined, SocketStream(remote)))
                group.remove(self)
                return
            self._release(joined, remote)
        except Exception as error:  # noqa: BLE001 - as in `ServerWorker.serve`
            self._fail(error)

    async def _deliver(self, joined: "PolledStreams", remote: SocketStream) -> None:
        try:
            await self._shared.worker.relay.deliver(joined, self._stream, remote)
        finally:
            self._release(joined, remote.raw_socket)

    def _release(self, joined: "PolledStreams", remote: socket.socket) -> None:
        close_descriptor(remote)  # by a reset, unless it was to be in order
        self._connection.relayed(self._shared.worker.relay.release(joined))
        self._end()

    def _fail(self, error: Exception) -> None:
        self._shared.worker.failed(self._connection, error)
        if self._joined is not None and not self._joined.over:
            self._shared.worker.relay.release(self._joined)
        if self._remote is not None:
            close_descriptor(self._remote)
        self._end()

    def _end(self) -> None:
        shared = self._shared
        self._stop_waiting()
        self._joined = self._remote = None
        shared.worker.close(self._connection)
        shared.leave(self._connection)
        shared.group.remove(self)
