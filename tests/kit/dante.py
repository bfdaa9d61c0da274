"""dante's client: `socksify` has any program's connections and datagrams go through a SOCKS 5 proxy."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.origins import Place

CONFIGURATION = """\
logoutput: /dev/null
route {{
    from: 0.0.0.0/0 to: 0.0.0.0/0 via: {host} port = {port}
    protocol: tcp udp
    proxyprotocol: socks_v5
    method: none
}}
"""


@contextlib.contextmanager
def socksified(proxy: Place) -> Iterator[tuple[str, ...]]:
    """Give the words that begin the command line of a program whose proxy this is."""
    if shutil.which("socksify") is None:
        pytest.skip("socksify (dante-client) is not installed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "socks.conf")
        file.write_text(CONFIGURATION.format(host=proxy.host, port=proxy.port))
        yield "env", f"SOCKS_CONF={file}", "SOCKS_AUTOADD_LANROUTES=no", "socksify"
