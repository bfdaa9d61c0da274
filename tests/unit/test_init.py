"""The public names: where they are, that they are imported late, and that they are complete."""

import ast
import inspect
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

import socks6
from socks6.distribution import NAME

PUBLIC_PACKAGES: Final = ("socks6.message.", "socks6.protocol.", "socks6.policy.")
NOT_FOR_USERS: Final = {  # constructors of what others return, and what connects the package's own modules
    "Association": ("__init__", "set_path"),
    "BindListener": ("__init__",),
    "BindServer": ("__init__",),
    "Client": ("request_connect",),
    "ClientConnection": (
        "__init__",
        "membership",
        "quota_reached",
        "relaying",
        "relaying_by_callbacks",
        "take_account",
    ),
    "LiveTable": ("__init__", "add", "discard", "of_user"),
    "ProxiedDatagramTransport": ("__init__",),
    "ProxiedStream": ("__init__",),
    "TlsSession": ("of", "ticket"),
    "ServerWorker": ("handshake", "leave_unsecured", "secured"),
}
GIVEN_BY_SERVER: Final = {  # to its worker, outbound and transports: for UDP on its ports, streams of QUIC, and waiting
    "socks6.net.eager.EagerTaskGroup",
    "socks6.net.poller.Poller",
    "socks6.net.transports.base.Polling",
    "socks6.proxy.multiplexed.QuicConnectionContext",
    "socks6.net.datagrams.shared.SharedPorts",
    "socks6.relay.datagrams.client_ports.ClientPort",
    "socks6.relay.datagrams.forwarder.DatagramForwarder",
}


def homes() -> dict[str, str]:
    """Return where type checkers find each public name."""
    tree = ast.parse(inspect.getsource(socks6))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {
        alias.name: node.module
        for node in imports
        if node.module is not None and node.module.startswith("socks6.")
        for alias in node.names
    }


def callables_of(name: str) -> Iterator[tuple[str, object]]:
    """Yield a public class, and its public methods and properties, with a name each; inherited ones too."""
    value = getattr(socks6, name)
    if not inspect.isclass(value):
        return
    for base in value.__mro__:
        if not base.__module__.startswith("socks6"):
            continue
        yield name, base
        for attribute, member in vars(base).items():
            special = attribute in {"__init__", "__call__", "__aenter__"}
            if (attribute.startswith("_") and not special) or attribute in NOT_FOR_USERS.get(name, ()):
                continue
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function):
                yield f"{name}.{attribute}", function


def types_in(hint: object) -> Iterator[type]:
    """Yield the classes that a type hint mentions."""
    if isinstance(hint, list | tuple):
        for part in hint:
            yield from types_in(part)
    elif isinstance(hint, typing.TypeVar):
        yield from types_in(hint.__bound__)
    elif inspect.isclass(hint) and not typing.get_args(hint):
        yield hint
    else:
        yield from types_in(typing.get_args(hint))


def aliases_in(name: str, module: str) -> Iterator[str]:
    """Yield the aliases of this package's that annotations of a public class are written with."""
    there = import_module(module)
    tree = ast.parse(inspect.getsource(there))
    imported = {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(next(node for node in tree.body if getattr(node, "name", "") == name)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name in NOT_FOR_USERS.get(
            name, ()
        ):
            continue
        if node.name.startswith("_") and node.name != "__init__":
            continue
        annotations = [argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)]
        for annotation in filter(None, (*annotations, node.returns)):
            for part in ast.walk(annotation):
                value = getattr(there, part.id, None) if isinstance(part, ast.Name) else None
                if value is not None and not isinstance(value, type | typing.TypeVar | types.ModuleType):
                    place = imported.get(part.id, f"{module}.{part.id}")  # type: ignore[attr-defined]  # a Name
                    yield place if place.startswith("socks6.") else ""


def test_type_checkers_find_every_name_where_it_is_at_run_time() -> None:
    assert homes() == socks6._MODULE_OF
    assert sorted(homes()) == sorted(socks6.__all__)
    assert len(set(socks6.__all__)) == len(socks6.__all__)
    for name, module in homes().items():
        assert getattr(socks6, name) is getattr(import_module(module), name)


def test_every_type_in_a_public_signature_is_public() -> None:
    known = homes()
    public = {f"{module}.{name}" for name, module in known.items()} | GIVEN_BY_SERVER
    missing: set[str] = set()
    for name in socks6.__all__:
        for where, value in callables_of(name):
            for hint in typing.get_type_hints(value).values():
                for kind in types_in(hint):
                    place = f"{kind.__module__}.{kind.__qualname__}"
                    if place.startswith("socks6.") and not place.startswith(PUBLIC_PACKAGES):
                        missing |= {f"{place} in {where}"} if place not in public else set()
    assert missing == set()


@pytest.mark.slow
def test_every_alias_that_a_public_signature_is_written_with_is_public() -> None:
    known = homes()
    classes = [name for name in socks6.__all__ if inspect.isclass(getattr(socks6, name))]
    used = {place for name in classes for place in aliases_in(name, known[name]) if place}
    assert "socks6.client.client.Timeout" in used
    missing = used - {f"{module}.{name}" for name, module in known.items()}
    assert {place for place in missing if not place.startswith(PUBLIC_PACKAGES)} == set()


def test_every_public_name_is_listed_before_it_is_imported() -> None:
    assert set(socks6.__all__) <= set(dir(socks6))


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'socks6' has no attribute 'Nothing'"):
        _ = getattr(socks6, "Nothing")  # noqa: B009 - mypy knows that there is none


def test_the_version_is_that_of_the_package() -> None:
    assert socks6.__version__ == version(NAME)


def test_the_package_alone_is_light() -> None:
    script = "import socks6, sys; print([name for name in ('asyncio', 'ssl', 'h11') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_guide_names_every_public_name_and_no_other() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "library.md").read_text()
    named = set(re.findall(r"`([A-Z]\w+)`", guide))
    functions = {name for name in socks6.__all__ if name.islower()}
    assert named == set(socks6.__all__) - functions
    assert functions <= set(re.findall(r"`socks6\.(\w+)", guide))
