"""`dataclass`, as the standard library has it, but made in a fifth of the time where it has slots.

The standard library compiles up to six functions for each class, and a server has 140 such classes: they were half of the
time that it took to start. Here `__init__` alone is compiled, which runs for every object; the other methods are
closures. What a class is like is the same: its fields, arguments, equality, hash, repr, pickles, and whether it can be
changed; the standard library's `replace`, `fields` and `asdict` take it, and classes of either kind can inherit from each
other.
"""

import contextlib
import dataclasses
import functools
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from socks6.compat import override

__all__ = ["dataclass"]

Method: TypeAlias = Callable[..., object]

_PARAMETERS: Final = "__dataclass_params__"


class _Unset:
    """The default of a parameter whose field has a factory."""

    @override
    def __repr__(self) -> str:
        return "<factory>"


_UNSET: Final = _Unset()


def _dataclass(
    cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, **options: bool
) -> Any:  # a class or a decorator: type checkers see the standard library's
    """See `dataclasses.dataclass`."""
    if cls is None:
        return functools.partial(_dataclass, frozen=frozen, slots=slots, **options)
    if slots:
        return _with_slots(cls, frozen, **options)
    return dataclasses.dataclass(frozen=frozen, **options)(cls)


def _with_slots(
    cls: type,
    frozen: bool,
    *,
    kw_only: bool = False,
    repr: bool = True,  # noqa: A002 - as there
    eq: bool = True,
) -> type:
    own = vars(cls)
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # else it is the signature, which takes milliseconds to find out
    with _thawed(cls.__mro__[1:] if frozen else ()):
        made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    made.__dataclass_params__.frozen = frozen
    fields = dataclasses.fields(made)
    if any("InitVar" in str(field.type) for field in made.__dataclass_fields__.values()):
        raise TypeError(
            f"{cls.__qualname__} has an InitVar, which the dataclasses of this package do not know"
        )
    for name, method in _methods(made, fields, frozen=frozen, shown=repr, compared=eq).items():
        # a class with its own `__eq__` has None for `__hash__`, until it is made
        if name not in own or (name == "__hash__" and own[name] is None and "__eq__" in own):
            setattr(made, name, method)
    return made  # type: ignore[no-any-return]  # a class


def _methods(
    cls: type, fields: Sequence[Field[Any]], *, frozen: bool, shown: bool, compared: bool
) -> dict[str, Method | None]:
    """Return what a class gets unless it has its own."""
    methods: dict[str, Method | None] = {"__init__": _init(cls, fields)}
    if frozen:
        methods |= _immutability(cls, fields)
    if shown:
        methods["__repr__"] = _repr(fields)
    if compared:
        equals, hash_of = _equality(fields)
        methods |= {"__eq__": equals, "__hash__": hash_of if frozen else None}
    for name, method in methods.items():
        if method is not None:
            method.__name__ = name
            method.__qualname__ = f"{cls.__qualname__}.{name}"
            method.__module__ = cls.__module__
    return methods


@contextlib.contextmanager
def _thawed(bases: Iterable[type]) -> Iterator[None]:
    """Mark frozen bases as not frozen: the standard library makes the class unfrozen, and lets it inherit from no others."""
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
    """Return `__init__`. It sets slots by their descriptors, which takes no longer than `object.__setattr__`."""
    positional = [field for field in fields if field.init and not field.kw_only]
    keyword = [field for field in fields if field.init and field.kw_only]
    parameters = [*positional, *keyword]
    namespace: dict[str, Any] = {"UNSET": _UNSET}
    lines = []
    for number, field in enumerate(fields):
        namespace[f"set{number}"] = getattr(cls, field.name).__set__
        value = f"value{parameters.index(field)}" if field.init else ""
        if field.default_factory is not MISSING:
            namespace[f"make{number}"] = field.default_factory
            value = f"make{number}() if {value} is UNSET else {value}" if value else f"make{number}()"
        elif not value and field.default is not MISSING:
            namespace[f"default{number}"] = field.default
            value = f"default{number}"
        if value:  # else it is for `__post_init__` to set
            lines.append(f"    set{number}(self, {value})\n")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()\n")
    values = [f"value{number}" for number in range(len(parameters))]
    values[len(positional) :] = ["*", *values[len(positional) :]] if keyword else []
    code = _compiled(f"def __init__({', '.join(['self', *values])}):\n{''.join(lines) or '    pass'}")
    init: Any = FunctionType(code.replace(co_varnames=("self", *_names(parameters))), namespace)
    init.__defaults__ = tuple(_defaults(positional).values())
    init.__kwdefaults__ = _defaults(keyword)
    init.__annotations__ = {field.name: field.type for field in parameters} | {"return": None}
    return init  # type: ignore[no-any-return]  # a function


@functools.cache
def _compiled(source: str) -> CodeType:
    """Return the code of a function. Classes with as many fields share it: the parameters' names are put in afterwards."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - of numbered names
    code: CodeType = namespace["__init__"].__code__
    return code


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


def _immutability(cls: Any, fields: Iterable[Field[Any]]) -> dict[str, Method]:
    """Return what refuses to change an object, and what pickles and copies it all the same."""
    names = _names(fields)

    def set_attribute(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_attribute(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    def get_state(self: Any) -> list[object]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def set_state(self: Any, state: Iterable[object]) -> None:
        for field, value in zip(
            dataclasses.fields(self), state, strict=True
        ):  # a subclass has fields of its own
            object.__setattr__(self, field.name, value)

    return {
        "__setattr__": set_attribute,
        "__delattr__": delete_attribute,
        "__getstate__": get_state,
        "__setstate__": set_state,
    }


def _repr(fields: Iterable[Field[Any]]) -> Method:
    names = _names(field for field in fields if field.repr)

    @reprlib.recursive_repr()
    def show(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return show


def _equality(fields: Iterable[Field[Any]]) -> tuple[Method, Method]:
    values = _values(_names(field for field in fields if field.compare))

    def equals(self: object, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_of(self: object) -> int:
        return hash(values(self))

    return equals, hash_of


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
