"""`dataclass`, as the standard library has it, but made in a fifth of the time where it is frozen and has slots.

The standard library compiles six functions for each such class, and a server has 180 of these classes: they were
half of the time that it took to start. Here `__init__` alone is compiled, which runs for every object; the other methods
are closures. What a class is like is the same: its fields, arguments, equality, hash, repr, pickles, and that it cannot be
changed; the standard library's `replace`, `fields` and `asdict` take it, and frozen classes of either kind can inherit
from each other.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

__all__ = ["dataclass"]

Method: TypeAlias = Callable[..., object]

_PARAMETERS: Final = "__dataclass_params__"
_UNSET: Final = object()  # the default of a parameter whose field has a factory


def _dataclass(
    cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, **options: bool
) -> Any:  # a class or a decorator: type checkers see the standard library's
    """See `dataclasses.dataclass`."""
    if cls is None:
        return functools.partial(_dataclass, frozen=frozen, slots=slots, **options)
    if frozen and slots:
        return _frozen(cls, **options)
    return dataclasses.dataclass(frozen=frozen, slots=slots, **options)(cls)


def _frozen(cls: type, *, kw_only: bool = False, repr: bool = True, eq: bool = True) -> type:  # noqa: A002 - as there
    own = vars(cls)
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # else it is the signature, which takes milliseconds to find out
    with _thawed(cls.__mro__[1:]):
        made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    made.__dataclass_params__.frozen = True
    fields = dataclasses.fields(made)
    methods = {"__init__": _init(made, fields), **_immutability(made, fields)}
    if repr:
        methods["__repr__"] = _repr(fields)
    if eq:
        methods |= _equality(fields)
    for name, method in methods.items():
        # a class with its own `__eq__` has None for `__hash__`, until it is made
        if name not in own or (name == "__hash__" and own[name] is None and "__eq__" in own):
            method.__name__ = name
            method.__qualname__ = f"{made.__qualname__}.{name}"
            method.__module__ = made.__module__
            setattr(made, name, method)
    return made  # type: ignore[no-any-return]  # a class


@contextlib.contextmanager
def _thawed(bases: Iterable[type]) -> Iterator[None]:
    """Let an unfrozen class inherit from frozen ones: that is what the standard library makes, of which the rest is made."""
    known = [vars(base)[_PARAMETERS] for base in bases if _PARAMETERS in vars(base)]
    frozen = [parameters for parameters in known if parameters.frozen]
    for parameters in frozen:
        parameters.frozen = False
    try:
        yield
    finally:
        for parameters in frozen:
            parameters.frozen = True


def _init(cls: type, fields: Sequence[Field[Any]]) -> Method:
    """Compile `__init__`. It sets slots by their descriptors, which takes no longer than `object.__setattr__`."""
    namespace: dict[str, Any] = {"UNSET": _UNSET}
    lines = []
    for field in fields:
        name = field.name
        namespace[f"set_{name}"] = getattr(cls, name).__set__
        if field.default_factory is not MISSING:
            namespace[f"make_{name}"] = field.default_factory
            value = f"make_{name}() if {name} is UNSET else {name}" if field.init else f"make_{name}()"
        elif field.init:
            value = name
        elif field.default is not MISSING:
            namespace[f"default_{name}"] = field.default
            value = f"default_{name}"
        else:
            continue  # it is for `__post_init__` to set
        lines.append(f"    set_{name}(self, {value})\n")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()\n")
    positional = [field for field in fields if field.init and not field.kw_only]
    keyword = [field for field in fields if field.init and field.kw_only]
    parameters = ["self", *_names(positional), *(["*"] if keyword else []), *_names(keyword)]
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or '    pass'}", namespace)  # noqa: S102 - of names alone
    init: Any = namespace["__init__"]
    init.__defaults__ = tuple(_defaults(positional).values())
    init.__kwdefaults__ = _defaults(keyword)
    init.__annotations__ = {field.name: field.type for field in (*positional, *keyword)} | {"return": None}
    return init  # type: ignore[no-any-return]  # a function


def _names(fields: Iterable[Field[Any]]) -> list[str]:
    return [field.name for field in fields]


def _defaults(fields: Iterable[Field[Any]]) -> dict[str, object]:
    return {
        field.name: field.default if field.default_factory is MISSING else _UNSET
        for field in fields
        if field.default is not MISSING or field.default_factory is not MISSING
    }


def _values(names: Sequence[str]) -> Callable[[object], tuple[object, ...]]:
    """Return what gives a tuple of an object's attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _immutability(cls: type, fields: Iterable[Field[Any]]) -> dict[str, Method]:
    """Return what refuses to change an object, and what pickles and copies it all the same."""
    names = _names(fields)
    values = _values(names)

    def set_attribute(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def delete_attribute(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    def get_state(self: object) -> tuple[object, ...]:
        return values(self)

    def set_state(self: object, state: Iterable[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {
        "__setattr__": set_attribute,
        "__delattr__": delete_attribute,
        "__getstate__": get_state,
        "__setstate__": set_state,
    }


def _repr(fields: Iterable[Field[Any]]) -> Method:
    names = _names(field for field in fields if field.repr)

    def show(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return show


def _equality(fields: Iterable[Field[Any]]) -> dict[str, Method]:
    values = _values(_names(field for field in fields if field.compare))

    def equals(self: object, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_of(self: object) -> int:
        return hash(values(self))

    return {"__eq__": equals, "__hash__": hash_of}


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
