"""All inbounds of a proxy, one row each. The modules of an inbound are imported when a listener first asks for it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.message.options import STANDARD, OptionTable
from socks6.proxy.inbounds.base import Inbound
from socks6.proxy.settings import Settings

MakeInbound: TypeAlias = Callable[[Settings, OptionTable], Inbound]

NEVER: Final = 3e8  # seconds, ten years: what loops' timers can still count


def _socks6(settings: Settings, option_table: OptionTable) -> Inbound:
    from socks6.proxy.inbounds.socks6 import Socks6Inbound  # noqa: PLC0415

    return Socks6Inbound(
        dialects=settings.dialects,
        option_table=option_table,
        quiet=settings.quiet,
        ignore_fragmented=settings.ignore_fragmented,
        tfo_without_token=settings.tfo_without_token,
    )


def _socks5(settings: Settings, _: OptionTable) -> Inbound:
    from socks6.proxy.inbounds.socks5 import Socks5Inbound  # noqa: PLC0415

    return Socks5Inbound(optimistic=settings.optimistic)


def _http(settings: Settings, _: OptionTable) -> Inbound:
    from socks6.proxy.inbounds.http import HttpInbound  # noqa: PLC0415 - 30 ms, half of it h11's
    from socks6.proxy.inbounds.http_forward import HttpSettings  # noqa: PLC0415

    return HttpInbound(
        HttpSettings(
            idle_timeout=settings.relay.idle_timeout or NEVER,
            fin_timeout=settings.relay.fin_timeout or NEVER,
            optimistic=settings.optimistic,
        )
    )


def _mixed(settings: Settings, option_table: OptionTable) -> Inbound:
    from socks6.proxy.inbounds.mixed import MixedInbound  # noqa: PLC0415

    others = {name: make for name, make in INBOUNDS.items() if make is not _mixed}
    return MixedInbound({name: make(settings, option_table) for name, make in others.items()})


INBOUNDS: Final[Mapping[str, MakeInbound]] = {
    "socks6": _socks6,
    "socks5": _socks5,
    "http": _http,
    "mixed": _mixed,
}


class StandardInbounds(Mapping[str, Inbound]):
    """Every inbound by its name, made when it is first asked for."""

    def __init__(self, settings: Settings, option_table: OptionTable = STANDARD) -> None:
        self._settings = settings
        self._option_table = option_table
        self._made: dict[str, Inbound] = {}

    @override
    def __getitem__(self, name: str) -> Inbound:
        if name not in self._made:
            self._made[name] = INBOUNDS[name](self._settings, self._option_table)
        return self._made[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(INBOUNDS)

    @override
    def __len__(self) -> int:
        return len(INBOUNDS)
