"""What works without what only Linux has; tests.kit.elsewhere takes that away."""

import subprocess
import sys
from typing import Final

import pytest

pytestmark = pytest.mark.e2e

LINUX_ONLY: Final = {
    *("socks6.relay.datagrams._forwarder", "socks6.relay.datagrams.compiled"),
    *("socks6.net.poller", "socks6.relay.polled", "socks6.relay.pump", "socks6.relay.splice"),
}
EVERYTHING_IMPORTED: Final = """
import tests.kit.elsewhere
import importlib, pkgutil, socks6
for module in pkgutil.walk_packages(socks6.__path__, "socks6."):
    try:
        module.name.endswith("__main__") or importlib.import_module(module.name)
    except (ImportError, AttributeError):
        print(module.name)
"""
EVERY_COMMAND_AND_TRANSPORT: Final = """
import tests.kit.elsewhere
import pytest, sys
options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "reader or library and (BIND or UDP)"]
options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]  # by the first line
sys.exit(pytest.main([*options, "tests/e2e/test_matrix_transports.py"]))
"""


MACOS_NUMBERS: Final = """
import tests.kit.elsewhere
from socks6.net.datagrams.packet_info import IP_PKTINFO, IPV6_PKTINFO, IPV6_RECVPKTINFO
print(IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO)
"""


def elsewhere(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_everything_can_be_imported_but_what_is_for_linux() -> None:
    done = elsewhere(EVERYTHING_IMPORTED)
    assert (set(done.stdout.split()), done.stderr) == (LINUX_ONLY, "")


def test_local_addresses_of_datagrams_are_asked_for_by_the_numbers_of_macos() -> None:
    done = elsewhere(MACOS_NUMBERS)
    assert (done.stdout, done.stderr) == ("26 61 46\n", "")


def test_every_command_works_over_every_transport() -> None:
    done = elsewhere(EVERY_COMMAND_AND_TRANSPORT)
    assert done.returncode == 0, done.stdout + done.stderr
