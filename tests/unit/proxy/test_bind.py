"""BIND: rules first, then the outbound, then who comes."""

import errno
import os
import socket

import pytest

from socks6.errors import ConnectionTimedOut, GeneralFailure, NotAllowed
from socks6.message.codes import Command
from socks6.message.options import ListenBacklog, StackOption, Tos, Ttl
from socks6.net.bind import own_address
from socks6.net.direct import DirectOutbound
from socks6.net.sockets import SocketStream
from socks6.net.stream import Binding, ByteStream, Endpoint, Protection
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy, Rule
from socks6.policy.stack import StackRule
from socks6.proxy import bind as bind_module
from socks6.proxy import commands
from socks6.proxy.backlog import BacklogListener, BindingRegistry
from socks6.proxy.bind import BindOperation, places_instead
from socks6.proxy.commands import ProxyRequest, reachable
from socks6.proxy.sessions import Session
from socks6.proxy.settings import BindSettings
from tests.kit.bindings import PEER, ScriptedBinding
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import Bound, ScriptedOutbound

OWN = {
    socket.AF_INET: ["203.0.113.1", "203.0.113.2"],
    socket.AF_INET6: ["2001:db8::1"],
}
FOUR = ListenBacklog(backlog=4)


def opened() -> Session:
    return Session(ANONYMOUS, Protection.CLEAR)


class Desk:
    """Where clients ask for places."""

    def __init__(
        self,
        *rules: Rule,
        outbound: ScriptedOutbound | DirectOutbound | None = None,
        stack: tuple[StackRule, ...] = (),
        settings: BindSettings | None = None,
    ) -> None:
        self.outbound = outbound or ScriptedOutbound()
        self.policy = Policy(rules=rules, stack=stack)
        self.settings = settings or BindSettings()
        self.bindings = BindingRegistry(self.settings)
        self.client: ByteStream = memory_stream_pair()[0]

    async def bind(
        self,
        host: str = "0.0.0.0",
        port: int = 0,
        *options: StackOption,
        session: Session | None = None,
        user: str = "",
        only_peer: str = "",
    ) -> Binding:
        call = ProxyRequest(
            command=Command.BIND,
            host=host,
            port=port,
            options=options,
            session=session,
            identity=Identity(name=user) if user else ANONYMOUS,
            only_peer=only_peer,
        )
        return await BindOperation(
            request=call,
            policy=self.policy,
            outbound=self.outbound,
            client=self.client,
            bindings=self.bindings,
            settings=self.settings,
        ).run()


def scripted(binding: ScriptedBinding, *, resolves: bool = True) -> ScriptedOutbound:
    outbound = ScriptedOutbound(resolves=resolves)
    outbound.binding = binding
    return outbound


def test_a_place_is_bound_as_asked_for_and_counted(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(Rule.parse("allow", commands=["bind"], ports=["8080"]))
        binding = await desk.bind("198.51.100.1", 8080, Tos(leg=2, tos=8))
        assert isinstance(desk.outbound, ScriptedOutbound)
        assert desk.outbound.bound == [Bound("198.51.100.1", 8080, (Tos(leg=2, tos=8),), 0)]
        assert binding.backlog == 0
        assert desk.bindings.limits.count == 1
        for _ in range(2):
            await binding.aclose()
        assert desk.bindings.limits.count == 0

    run(scene())


def test_a_failure_counts_for_nothing(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(outbound=ScriptedOutbound(GeneralFailure("taken")))
        with pytest.raises(GeneralFailure):
            await desk.bind()
        assert desk.bindings.limits.count == 0

    run(scene())


def test_rules_say_no_before_anything_is_bound(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(Rule.parse("deny", hosts=["*.example"], commands=["bind"]))
        for host, port in (("www.example", 0), ("127.0.0.1", 0), ("0.0.0.0", 80)):
            with pytest.raises(NotAllowed):
                await desk.bind(host, port)
        assert isinstance(desk.outbound, ScriptedOutbound)
        assert desk.outbound.bound == []

    run(scene())


def test_each_address_of_a_name_and_each_peer_is_judged(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(Rule.parse("deny", hosts=["203.0.113.0/24"]))
        await desk.bind("www.example")
        outbound = desk.outbound
        assert isinstance(outbound, ScriptedOutbound)
        assert outbound.judge("198.51.100.1", 0)
        assert not outbound.judge("10.0.0.1", 0)
        assert not outbound.judge("203.0.113.1", 0)
        assert outbound.judge_peer("10.0.0.1", 4000)
        assert not outbound.judge_peer("203.0.113.1", 4000)

    run(scene())


def test_nobody_else_may_come_where_one_is_expected(run: Run) -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.bind(only_peer="192.0.2.1")
        outbound = desk.outbound
        assert isinstance(outbound, ScriptedOutbound)
        assert outbound.judge_peer("192.0.2.1", 20)
        assert outbound.judge_peer("::ffff:192.0.2.1", 20)
        assert not outbound.judge_peer("192.0.2.2", 20)

    run(scene())


def test_the_peer_comes_or_time_is_up(run: Run) -> None:
    async def scene() -> None:
        scripted_binding = ScriptedBinding()
        desk = Desk(outbound=scripted(scripted_binding), settings=BindSettings(accept_timeout=0.01))
        binding = await desk.bind()
        with pytest.raises(ConnectionTimedOut, match="no peer connected in time"):
            await binding.accept()
        scripted_binding.arrive()
        assert (await binding.accept()).peer == PEER
        await binding.aclose()
        assert scripted_binding.closed

    run(scene())


def test_users_have_so_many_places_and_strangers_by_their_source(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(settings=BindSettings(listeners_per_user=1))
        for user in ("alice", "bob", ""):
            await desk.bind(user=user)
            with pytest.raises(GeneralFailure):
                await desk.bind(user=user)

    run(scene())


# Where remotes reach it


@pytest.mark.parametrize(
    ("bound", "advertised", "local", "told"),
    [
        ("192.0.2.5", ("198.51.100.1",), "10.0.0.1", "192.0.2.5"),
        ("0.0.0.0", ("2001:db8::1", "198.51.100.1"), "10.0.0.1", "198.51.100.1"),
        ("::", ("2001:db8::1", "198.51.100.1"), "10.0.0.1", "2001:db8::1"),
        ("::", ("proxy.example",), "10.0.0.1", "proxy.example"),
        ("0.0.0.0", (), "10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", (), "::ffff:10.0.0.1", "10.0.0.1"),
        ("::", (), "fe80::1%eth0", "fe80::1"),
        ("0.0.0.0", ("2001:db8::1",), "10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", (), "2001:db8::7", own_address(socket.AF_INET)),
        ("::", (), "10.0.0.1", own_address(socket.AF_INET6)),
        ("0.0.0.0", (), "", own_address(socket.AF_INET)),
        ("0.0.0.0", (), "0.0.0.0", own_address(socket.AF_INET)),
    ],
)
def test_the_place_is_told_by_an_address_that_leads_there(
    bound: str, advertised: tuple[str, ...], local: str, told: str
) -> None:
    assert reachable(Endpoint(bound, 4000), advertised, local) == Endpoint(told, 4000)


def test_what_an_upstream_says_is_its_own_affair(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(
            outbound=scripted(ScriptedBinding(bound=Endpoint("0.0.0.0", 4000)), resolves=False),
            settings=BindSettings(advertise=("198.51.100.1",)),
        )
        assert (await desk.bind()).bound == Endpoint("0.0.0.0", 4000)

    run(scene())


# Stack options


def test_every_option_is_answered_both_times(run: Run) -> None:
    async def scene() -> None:
        far, near = socket.socketpair()
        with far, socket.create_server(("127.0.0.1", 0)) as server:
            near.close()
            client = socket.create_connection(server.getsockname())
            desk = Desk(
                Rule.parse("allow", hosts=["127.0.0.0/8"]),
                outbound=DirectOutbound(),
                stack=(StackRule.parse(forbid=["ttl"]),),
            )
            desk.client = SocketStream(client)
            asked = (Tos(leg=3, tos=0x48), Ttl(leg=2, ttl=33), FOUR)
            told = (Tos(leg=3, tos=0x48), Ttl(leg=2, ttl=64))
            binding = await desk.bind("127.0.0.1", 0, *asked)
            assert binding.options == (*told, ListenBacklog(backlog=0))
            with socket.create_connection(binding.bound):
                accepted = await binding.accept()
                assert accepted.options == told
                accepted.stream.abort()
            await binding.aclose()
            desk.client.abort()

    run(scene())


def test_of_an_upstream_only_what_it_says_is_told(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(
            outbound=scripted(ScriptedBinding(options=(Tos(leg=2, tos=8),)), resolves=False),
            stack=(StackRule.parse(forbid=["ttl"]),),
        )
        binding = await desk.bind("0.0.0.0", 0, Tos(leg=2, tos=8), Ttl(leg=2, ttl=33))
        assert binding.options == (Tos(leg=2, tos=8),)

    run(scene())


# Backlog


@pytest.mark.parametrize(("asked", "cap", "granted"), [(4, 128, 4), (4, 3, 3), (0, 128, 0), (4, 0, 0)])
def test_a_session_gets_the_backlog_that_it_asks_for_up_to_a_limit(
    run: Run, asked: int, cap: int, granted: int
) -> None:
    async def scene() -> None:
        desk = Desk(settings=BindSettings(backlog=cap))
        binding = await desk.bind("0.0.0.0", 0, ListenBacklog(backlog=asked), session=opened())
        assert binding.backlog == granted
        assert binding.options == (ListenBacklog(backlog=granted),)
        assert isinstance(binding, BacklogListener) == (granted > 0)
        await binding.aclose()

    run(scene())


def test_an_upstream_that_grants_more_than_asked_grants_what_was_asked(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(outbound=scripted(ScriptedBinding(backlog=9), resolves=False))
        binding = await desk.bind("0.0.0.0", 0, FOUR, session=opened())
        assert (binding.backlog, binding.options) == (4, (FOUR,))
        await binding.aclose()

    run(scene())


def test_without_a_session_there_is_none_unless_the_operator_says_so(run: Run) -> None:
    async def scene() -> None:
        for relaxed in (False, True):
            desk = Desk(settings=BindSettings(backlog_without_session=relaxed))
            binding = await desk.bind("0.0.0.0", 0, FOUR)
            assert binding.options == (ListenBacklog(backlog=4 if relaxed else 0),)
            await binding.aclose()

    run(scene())


def test_a_forbidden_backlog_is_none(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(stack=(StackRule.parse(forbid=["backlog"]),))
        binding = await desk.bind("0.0.0.0", 0, FOUR, session=opened())
        assert binding.options == (ListenBacklog(backlog=0),)

    run(scene())


def test_a_bind_of_the_session_at_its_listener_is_for_its_next_peer(run: Run) -> None:
    async def scene() -> None:
        scripted_binding = ScriptedBinding(backlog=4, options=(Tos(leg=2, tos=8),))
        desk, session = Desk(outbound=scripted(scripted_binding)), opened()
        listener = await desk.bind("0.0.0.0", 0, FOUR, Tos(leg=2, tos=8), session=session)
        assert isinstance(listener, BacklogListener)
        accepting = await desk.bind(*listener.bound, FOUR, Tos(leg=2, tos=8), session=session)
        assert accepting.bound == listener.bound
        assert accepting.options == (Tos(leg=2, tos=8), ListenBacklog(backlog=0))
        assert desk.bindings.limits.count == 1
        scripted_binding.arrive()
        listener.give(await scripted_binding.accept())
        assert (await accepting.accept()).peer == PEER
        await accepting.aclose()
        await listener.aclose()
        assert desk.bindings.limits.count == 0
        assert desk.bindings.find(listener.bound) is None

    run(scene())


def test_options_of_such_a_bind_are_for_its_own_peer(run: Run) -> None:
    async def scene() -> None:
        desk, session = Desk(Rule.parse("allow", hosts=["127.0.0.0/8"]), outbound=DirectOutbound()), opened()
        listener = await desk.bind("127.0.0.1", 0, FOUR, session=session)
        assert isinstance(listener, BacklogListener)
        accepting = await desk.bind(*listener.bound, Ttl(leg=2, ttl=33), session=session)
        with socket.create_connection(listener.bound):
            listener.give(await listener._binding.accept())
            accepted = await accepting.accept()
            assert accepted.options == (Ttl(leg=2, ttl=33),)
            accepted.stream.abort()
        await accepting.aclose()
        await listener.aclose()

    run(scene())


def test_a_listener_of_another_session_is_not_allowed(run: Run) -> None:
    async def scene() -> None:
        desk = Desk(settings=BindSettings(backlog_without_session=True))
        listener = await desk.bind("0.0.0.0", 0, FOUR, session=opened())
        strangers: tuple[Session | None, ...] = (opened(), None)
        for session in strangers:
            with pytest.raises(NotAllowed, match="another session"):
                await desk.bind(*listener.bound, session=session)
        relaxed = await desk.bind("0.0.0.0", 0, FOUR, user="alice")
        await listener.aclose()
        await desk.bind(*relaxed.bound, user="alice")
        with pytest.raises(NotAllowed):
            await desk.bind(*relaxed.bound, user="bob")
        await relaxed.aclose()

    run(scene())


def test_a_session_that_ends_ends_the_connection_that_keeps_the_listener(run: Run) -> None:
    async def scene() -> None:
        desk, session = Desk(), opened()
        await desk.bind("0.0.0.0", 0, FOUR, session=session)
        session.end(close=False)
        with pytest.raises(OSError, match="closed"):
            await desk.client.receive()

    run(scene())


def test_a_listener_that_ends_first_leaves_nothing_at_the_session(run: Run) -> None:
    async def scene() -> None:
        desk, session = Desk(), opened()
        listener = await desk.bind("0.0.0.0", 0, FOUR, session=session)
        await listener.aclose()
        session.end(close=False)
        assert desk.client.receive_nowait(1) is None

    run(scene())


class TestNoAddressInParticular:
    """What is bound for a client that names none."""

    def test_it_is_every_address_but_loopback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bind_module, "interface_addresses", OWN.__getitem__)
        assert places_instead("0.0.0.0", (), "203.0.113.1") == (("203.0.113.1", "203.0.113.2"),)
        assert places_instead("::", (), "2001:db8::2%eth0") == (("2001:db8::2", "2001:db8::1"),)
        assert places_instead("0.0.0.0", (), "2001:db8::1")[0][-2:] == ("203.0.113.1", "203.0.113.2")

    def test_a_client_of_this_machine_gets_loopback_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bind_module, "interface_addresses", OWN.__getitem__)
        assert places_instead("0.0.0.0", (), "127.0.0.1") == (("127.0.0.1", "203.0.113.1", "203.0.113.2"),)
        assert places_instead("::", (), "127.0.0.1")[0][-2:] == ("2001:db8::1", "::1")

    def test_what_is_advertised_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bind_module, "interface_addresses", OWN.__getitem__)
        advertised = ("198.51.100.1", "2001:db8::1", "x.example")
        assert places_instead("0.0.0.0", advertised, "203.0.113.2") == (
            ("198.51.100.1",),
            ("203.0.113.2", "203.0.113.1"),
        )

    def test_it_is_one_socket_where_nobody_tells_the_addresses_or_they_are_many(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nobody(family: int) -> list[str]:
            raise OSError(errno.EAFNOSUPPORT, "no netlink")

        monkeypatch.setattr(bind_module, "interface_addresses", nobody)
        assert places_instead("0.0.0.0", ("198.51.100.1",), "203.0.113.1") == ()
        many = [f"203.0.113.{number}" for number in range(33)]
        monkeypatch.setattr(bind_module, "interface_addresses", lambda family: many)
        assert places_instead("0.0.0.0", (), "203.0.113.1") == ()

    def test_an_address_that_is_named_is_bound_as_it_is(self) -> None:
        assert places_instead("203.0.113.1", ("198.51.100.1",), "203.0.113.1") == ()

    def test_another_proxy_chooses_by_itself(self, run: Run) -> None:
        async def scene() -> None:
            for resolves in (True, False):
                outbound = ScriptedOutbound(resolves=resolves)
                desk = Desk(outbound=outbound, settings=BindSettings(advertise=("198.51.100.1",)))
                await desk.bind("::ffff:0.0.0.0")
                assert bool(outbound.instead) == resolves

        run(scene())


@pytest.mark.parametrize("backlog", [(), (FOUR,)], ids=["for one", "for many"])
def test_a_bind_whose_answer_cannot_be_worked_out_leaves_nothing_behind(
    run: Run, monkeypatch: pytest.MonkeyPatch, backlog: tuple[StackOption, ...]
) -> None:
    def no_descriptor(family: int) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def scene() -> None:
        desk = Desk(
            Rule.parse("allow", hosts=["127.0.0.0/8"]),
            outbound=DirectOutbound(),
            stack=(StackRule.parse(forbid=("ttl",)),),
        )
        before = Footprint.of().descriptors
        with monkeypatch.context() as patch:
            patch.setattr(commands, "stream_socket", no_descriptor)
            session = opened()
            with pytest.raises(GeneralFailure):
                await desk.bind("127.0.0.1", 0, Ttl(leg=2, ttl=9), *backlog, session=session)
            session.end(close=False)
        assert desk.client.receive_nowait(1) is None  # the session does not end its connection
        assert desk.bindings.limits.count == 0
        assert len(desk.bindings.endpoints) == 0
        assert Footprint.of().descriptors == before

    run(scene())
