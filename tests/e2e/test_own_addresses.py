"""A server on a machine with public addresses: what listens there is not for its clients, but what they bind is."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from socks6 import Client, NotAllowed, Policy, Rule, Server, ServerWorker
from socks6.proxy.settings import BindSettings, Settings
from tests.kit.loops import Run
from tests.kit.netns import Namespace, needs_namespaces, wait_for_own_route

pytestmark = [pytest.mark.e2e, needs_namespaces]

PUBLIC, PUBLIC_V6 = "203.0.113.1", "2001:db8:1::1"
LATER = "203.0.113.7"


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """Be on a machine with a public address of each family."""
    namespace = Namespace()
    try:
        namespace.configure(f"address add {PUBLIC}/32 dev lo", f"address add {PUBLIC_V6}/128 dev lo nodad")
        with namespace.entered():
            wait_for_own_route(PUBLIC_V6)
            yield namespace
    finally:
        namespace.close()


@contextlib.asynccontextmanager
async def serving(
    *rules: Rule,
    listen: str = "127.0.0.1:0",
    allow_private: bool = False,
    advertise: tuple[str, ...] = (),
) -> AsyncIterator[Client]:
    """Give a client of a server."""
    worker = ServerWorker(
        policy=Policy(allow_private=allow_private, rules=rules),
        settings=Settings(bind=BindSettings(advertise=advertise), drain_timeout=0.0),
    )
    async with Server([f"socks6://{listen}"], worker, open_to_all=True) as server:
        port = int(server.urls[0].rpartition(":")[2])
        host = listen.rpartition(":")[0]
        host = "127.0.0.1" if host == "0.0.0.0" else host
        async with Client(f"socks6://{host}:{port}", timeout=10.0) as client:
            yield client


@contextlib.asynccontextmanager
async def service(host: str) -> AsyncIterator[int]:
    """Give the port of something that listens on the machine."""
    greeting = await asyncio.start_server(greet, host, 0)
    async with greeting:
        yield greeting.sockets[0].getsockname()[1]


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()


async def greeting_from(client: Client, host: str, port: int) -> bytes:
    async with await client.connect(host, port) as stream:
        return await stream.receive(100)


@pytest.mark.parametrize("host", [PUBLIC, PUBLIC_V6, f"::ffff:{PUBLIC}"])
def test_a_service_of_the_machine_is_shut_until_a_rule_names_its_address(
    run: Run, machine: Namespace, host: str
) -> None:
    async def scene() -> None:
        async with service("::" if ":" in host and "." not in host else "0.0.0.0") as port:
            for rules in ((), (Rule.parse("allow", hosts=["0.0.0.0/0", "::/0"]),)):
                async with serving(*rules) as client:
                    with pytest.raises(NotAllowed):
                        await greeting_from(client, host, port)
            async with serving(Rule.parse("allow", hosts=[PUBLIC, PUBLIC_V6])) as client:
                assert await greeting_from(client, host, port) == b"hello"
            async with serving(allow_private=True) as client:
                assert await greeting_from(client, host, port) == b"hello"

    run(scene())


def test_an_address_that_comes_later_is_shut_from_then_on(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        async with service("0.0.0.0") as port, serving() as client:
            machine.configure(f"address add {LATER}/32 dev lo")
            with pytest.raises(NotAllowed):
                await greeting_from(client, LATER, port)

    run(scene())


def test_an_advertised_address_is_shut_wherever_it_is(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        async with serving(advertise=("198.51.100.1",)) as client:
            with pytest.raises(NotAllowed):
                await client.connect("198.51.100.1", 80)

    run(scene())


def test_the_proxys_own_listener_is_shut_whatever_the_rules_say(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        rule = Rule.parse("allow", hosts=[PUBLIC, "127.0.0.1", "::1"])
        async with serving(rule, listen="0.0.0.0:0", allow_private=True) as client:
            port = client.url.port
            for host in (PUBLIC, "127.0.0.1", f"::ffff:{PUBLIC}"):
                with pytest.raises(NotAllowed):
                    await client.connect(host, port)

    run(scene())


def test_clients_reach_what_others_have_bound(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        async with serving(advertise=(PUBLIC, PUBLIC_V6)) as client:
            async with await client.bind() as listener:
                assert listener.bound.host == PUBLIC
                peer, stream = await asyncio.gather(client.connect(*listener.bound), listener.accept())
                async with peer, stream:
                    await peer.send(b"from one client to another")
                    assert await stream.receive(100) == b"from one client to another"
            with pytest.raises(NotAllowed):  # the port is free for anybody again
                await client.connect(*listener.bound)

    run(scene())


def test_datagrams_reach_associations_of_others_and_nothing_else_of_the_machine(
    run: Run, machine: Namespace
) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as local:
            local.bind((PUBLIC, 0))
            local.setblocking(False)
            async with (
                serving(advertise=(PUBLIC, PUBLIC_V6)) as client,
                client.associate(udp="stream") as one,
                client.associate(udp="stream") as two,
            ):
                assert two.bound.host == PUBLIC
                await one.send(b"to nobody", local.getsockname())
                await one.send(b"to the other", two.bound)
                data, source = await two.receive()
                assert (data, source) == (b"to the other", one.bound)
                with pytest.raises(BlockingIOError):
                    local.recv(100)

    run(scene())


def test_a_place_for_anybody_is_on_every_address_but_loopback(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        machine.configure(f"address add {LATER}/32 dev lo")
        async with serving(listen=f"{PUBLIC}:0") as client:
            for host in (PUBLIC, LATER):
                async with await client.bind() as listener:
                    assert listener.bound.host == PUBLIC
                    port = listener.bound.port
                    with socket.create_server(("127.0.0.1", port)):
                        pass  # it is free for the machine's own services
                    with socket.create_connection((host, port)):
                        (await listener.accept()).abort()

    run(scene())


def test_what_is_advertised_is_bound_alone(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        machine.configure(f"address add {LATER}/32 dev lo")
        async with (
            serving(listen=f"{PUBLIC}:0", advertise=(LATER,)) as client,
            await client.bind() as listener,
        ):
            assert listener.bound.host == LATER
            with socket.create_server((PUBLIC, listener.bound.port)):
                pass

    run(scene())


def test_a_service_that_is_started_anew_finds_its_port_free(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        with socket.create_server((PUBLIC, 0)) as service:
            port = service.getsockname()[1]
        async with serving(listen=f"{PUBLIC}:0") as client:
            for host in ("0.0.0.0", PUBLIC):
                with pytest.raises(NotAllowed):
                    await client.bind(host, port)
                with pytest.raises(NotAllowed):
                    async with client.associate(host, port, udp="stream"):
                        pass
        rule = Rule.parse("allow", commands=["bind"], ports=[str(port)])
        async with serving(rule, listen=f"{PUBLIC}:0") as client, await client.bind(PUBLIC, port) as listener:
            assert listener.bound == (PUBLIC, port)

    run(scene())
