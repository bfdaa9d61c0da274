"""The admin interface that a configuration asks for."""

import os
from pathlib import Path

import pytest

from socks6.admin.runtime import live_sockets
from socks6.admin.settings import AdminSettings
from socks6.config import admin as module
from socks6.config.admin import build_admin
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.url import ProxyUrl
from socks6.proxy.settings import Settings
from tests.kit.admin import bridge_of
from tests.kit.certificates import certificate
from tests.kit.loops import Run


def place(text: str) -> ProxyUrl:
    return ProxyUrl.parse_listener(f"http://{text}")


def urls_of(config: ServerConfig, environment: dict[str, str], run: Run) -> tuple[str, ...]:
    found: list[str] = []

    async def play() -> None:
        service = build_admin(config, environment, bridge_of())
        if service is not None:
            async with service:
                found.extend(service.urls)
                found.extend(str(path) for path in live_sockets(environment))

    run(play())
    return tuple(found)


def test_by_default_it_is_a_socket_in_the_runtime_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socks6.admin.runtime.ROOTS_FOLDER", tmp_path / "none")  # where others may run
    environment = {"RUNTIME_DIRECTORY": str(tmp_path)}
    assert urls_of(ServerConfig(), environment, run) == (f"{tmp_path}/{os.getpid()}.sock",)
    assert urls_of(ServerConfig(admin=AdminSettings(socket="none")), environment, run) == ()
    own = str(tmp_path / "own.sock")
    assert urls_of(ServerConfig(admin=AdminSettings(socket=own)), {}, run) == (f"unix://{own}",)


def test_http_is_for_loopback_and_others_need_a_certificate(run: Run, tmp_path: Path) -> None:
    environment = {"STATE_DIRECTORY": str(tmp_path)}
    here = AdminSettings(socket="none", http=place("127.0.0.1:0"))
    assert urls_of(ServerConfig(admin=here), environment, run)[0].startswith("http://127.0.0.1:")
    assert (tmp_path / "admin.token").exists()
    others = AdminSettings(socket="none", http=place("0.0.0.0:0"))
    with pytest.raises(ConfigurationError, match="name a certificate"):
        urls_of(ServerConfig(admin=others), environment, run)
    with certificate() as files:
        by_servers = ServerConfig(admin=others, settings=Settings(tls=files.server))
        own = AdminSettings(
            socket="none",
            http=place("127.0.0.1:0"),
            certificate=files.server.certificate,
            key=files.server.key,
            token_file=str(tmp_path / "token"),
        )
        for config in (by_servers, ServerConfig(admin=own)):
            assert urls_of(config, environment, run)[0].startswith("https://")


def test_what_is_not_installed_is_named_where_it_was_asked_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_installed", lambda: False)
    assert urls_of(ServerConfig(), {"RUNTIME_DIRECTORY": str(tmp_path)}, run) == ()
    with pytest.raises(ConfigurationError, match=r"pip install 'pysocks6\[admin\]'"):
        urls_of(ServerConfig(admin=AdminSettings(http=place("127.0.0.1:0"))), {}, run)
