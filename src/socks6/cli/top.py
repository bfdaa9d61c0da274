"""socks6 top: a running proxy on the whole terminal."""

import os
import sys
from argparse import Namespace

from socks6.admin.client import find_proxy
from socks6.distribution import install_hint
from socks6.errors import ConfigurationError


def run(arguments: Namespace) -> int:
    """Show it until the user quits. Raises ConfigurationError without a terminal, or without textual."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("socks6 top needs a terminal; `socks6 who --json --watch` prints the same")
    try:
        from socks6.cli.top_screen import TopApp  # noqa: PLC0415 - with an extra
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"textual", "rich"}:
            raise
        raise ConfigurationError(f"socks6 top needs more: {install_hint('top')}") from error
    client = find_proxy(arguments.admin, os.environ)
    client.get("/status")  # what is wrong is said before the screen is taken
    app = TopApp(client)
    app.run()
    return app.return_code or 0
