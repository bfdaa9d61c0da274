"""How datagrams are relayed, as a file says it."""

from pathlib import Path

import pytest

from socks6.config.faults import InvalidConfiguration
from socks6.config.file import read_configuration
from socks6.config.plan import Plan
from socks6.net.datagrams.filtering import Filtering
from socks6.proxy.settings import UdpSettings

EVERYTHING = """
[udp]
enabled = false
associations = 1
associations-per-user = 2
first-timeout = 3
idle-timeout = 4
filtering = "address-dependent"
remote-timeout = 5
multicast-interface = "lo"
"""


def settings_of(folder: Path, text: str) -> UdpSettings:
    path = folder / "socks6.toml"
    path.write_text(text)
    path.chmod(0o600)
    return Plan.of(read_configuration(path).choices).settings.udp


def test_a_file_that_says_nothing_means_the_defaults(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "") == UdpSettings()


def test_everything_can_be_said(tmp_path: Path) -> None:
    assert settings_of(tmp_path, EVERYTHING) == UdpSettings(
        enabled=False,
        associations=1,
        associations_per_user=2,
        first_timeout=3,
        idle_timeout=4,
        filtering=Filtering.ADDRESS_DEPENDENT,
        remote_timeout=5,
        multicast_interface="lo",
    )


def test_only_udp_can_be_switched_off(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "[udp]\nenabled = false") == UdpSettings(enabled=False)


def test_an_unknown_filtering_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        settings_of(tmp_path, '[udp]\nfiltering = "cone"')
    (line,) = caught.value.lines
    assert "'cone' is no filtering: write endpoint-independent, address-dependent" in line
