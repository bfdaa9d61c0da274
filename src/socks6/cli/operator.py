"""What the signals of an operator do to a running server."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final, NamedTuple

from socks6.cli import complain
from socks6.cli.gather import Gathered
from socks6.cli.notify import notify
from socks6.config.choices import Choices
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker

# What a reload takes over; a change of anything else counts after a restart.
RELOADED: Final = frozenset({"users", "users_file", "allow_private", "rules", "stack"})


class Operator:
    """Carries them out. `choices` are those that the server runs with, `read` reads them anew from their sources."""

    def __init__(
        self,
        server: Server,
        worker: ServerWorker,
        plan: Plan,
        choices: Choices,
        read: Callable[[], Gathered],
    ) -> None:
        self._server = server
        self._worker = worker
        self._plan = plan
        self._choices = dataclasses.replace(choices, users=None, users_file=None)  # which may be long
        self._read = read
        self._stopping = False
        self._asked = asyncio.Event()

    def stop(self) -> None:
        """Stop when what runs has ended or had its time; at once when asked again."""
        if self._stopping:
            self._server.abort()
            return
        self._stopping = True
        notify("STOPPING=1")
        self._server.stop()

    def reload(self) -> None:
        """Have `run` reload, once more if it is reloading already."""
        self._asked.set()

    async def run(self) -> None:
        """Reload as often as told, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload_now()

    async def reload_now(self) -> None:
        """Use the users and the policy that the files name now for new requests.

        If anything is wrong with them, it is told and nothing changes. Listeners, limits and all else stay as they are;
        what has changed of them is named, since it needs a restart. The files are read in a thread: there may be
        many users.
        """
        try:
            renewed = await asyncio.to_thread(self._renew)
        except (ConfigurationError, OSError, RuntimeError) as error:  # the last: there is no thread left
            complain(*(f"not reloaded: {line}" for line in str(error).splitlines()))
        else:
            self._worker.replace(authenticator=renewed.plan.authenticator, policy=renewed.plan.policy)
            complain("reloaded", *(f"warning: {warning}" for warning in renewed.warnings))
            if untaken := _needs_restart(self._choices, renewed.choices):
                complain(f"changed, but needs a restart: {', '.join(untaken)}")

    def _renew(self) -> "_Renewed":
        """Read everything. Raises ConfigurationError for what must not be used."""
        running = self._plan
        read, warnings = self._read()
        choices = dataclasses.replace(
            read, listen=running.listen, open_to_all=running.open_to_all, via=running.via, direct=None
        )
        plan = Plan.of(choices)
        if faults := plan.faults():
            raise ConfigurationError("\n".join(why for _, why in faults))
        before, after = _count_users(self._worker.authenticator), _count_users(plan.authenticator)
        if before and not after:
            raise ConfigurationError(
                f"no users are left of {before}, so that nobody could come in, or everybody;"
                " if that is meant, restart the server"
            )
        if after * 2 < before:
            warnings = (*warnings, f"there are {after} users now; there were {before}: is the file whole?")
        return _Renewed(plan, read, warnings)


class _Renewed(NamedTuple):
    """What a reload found."""

    plan: Plan
    choices: Choices
    warnings: tuple[str, ...]


def _count_users(authenticator: Authenticator) -> int:
    return len(authenticator) if isinstance(authenticator, UserTable) else 0


def _needs_restart(running: Choices, read: Choices) -> list[str]:
    """Return the names of what differs and cannot be reloaded, as a configuration file writes them."""
    names = (field.name for field in dataclasses.fields(Choices) if field.name not in RELOADED)
    return [name.replace("_", "-") for name in names if getattr(running, name) != getattr(read, name)]
