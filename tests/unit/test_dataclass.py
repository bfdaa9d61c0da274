"""Frozen dataclasses of ours behave as those of the standard library do: each test runs with both."""

# mypy: disable-error-code="call-arg, attr-defined, operator"
# It does not see what a decorator makes of a class that is a parameter here.

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, ClassVar, Protocol

import pytest

from socks6 import dataclass as ours
from socks6.compat import override

FROZEN = {"frozen": True, "slots": True}
Decorator = Any  # a class decorator: what it makes of a class is what the tests are about


@pytest.fixture(
    name="decorator",
    params=[pytest.param(dataclass, id="standard"), pytest.param(ours.dataclass, id="ours")],
)
def the_decorator(request: pytest.FixtureRequest) -> Decorator:
    made: Decorator = request.param
    return made


def point(decorator: Decorator) -> Any:
    @decorator(**FROZEN, kw_only=True)
    class Point:
        """A value."""

        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list, compare=False)
        secret: str = field(default="s", repr=False)

    return Point


def test_arguments_and_defaults(decorator: Decorator) -> None:
    made = point(decorator)(x=1)
    assert (made.x, made.y, made.tags, made.secret, made.kind) == (1, 2, [], "s", "point")
    assert point(decorator)(x=1).tags is not made.tags
    assert point(decorator)(x=1, y=3, tags=["a"], secret="t").tags == ["a"]


@pytest.mark.parametrize(("values", "words"), [({}, "'x'"), ({"x": 1, "z": 2}, "'z'")])
def test_wrong_arguments(decorator: Decorator, values: dict[str, int], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        point(decorator)(**values)
    with pytest.raises(TypeError, match="positional"):
        point(decorator)(1)


def test_the_signature(decorator: Decorator) -> None:
    parameters = inspect.signature(point(decorator)).parameters
    assert {name: parameter.annotation for name, parameter in parameters.items()} == {
        "x": int,
        "y": int,
        "tags": list[str],
        "secret": str,
    }
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert str(parameters["tags"].default) == "<factory>"


def test_positional_arguments_and_match_args(decorator: Decorator) -> None:
    @decorator(**FROZEN)
    class Pair:
        """A value."""

        one: int
        two: int = field(default=5, kw_only=True)
        three: int = 3

    made = Pair(1, 4, two=2)
    assert (made.one, made.two, made.three) == (1, 2, 4)
    assert Pair(1) == Pair(1, 3, two=5)
    assert Pair.__match_args__ == ("one", "three")
    assert point(decorator).__match_args__ == ()


def test_fields_that_are_no_arguments(decorator: Decorator) -> None:
    @decorator(**FROZEN, kw_only=True)
    class Derived:
        """A value."""

        given: int
        usual: int = field(default=7, init=False)
        made: list[int] = field(default_factory=list, init=False)
        computed: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "computed", self.given * 2)

    made = Derived(given=4)
    assert (made.usual, made.made, made.computed) == (7, [], 8)


def test_nothing_can_be_changed(decorator: Decorator) -> None:
    made = point(decorator)(x=1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        made.x = 2
    with pytest.raises(
        (FrozenInstanceError, TypeError)
    ):  # the second from the standard library of Python 3.11
        made.other = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del made.x
    assert made.x == 1


def test_a_plain_subclass_has_attributes_of_its_own() -> None:
    class Noted(point(ours.dataclass)):  # type: ignore[misc]  # a class
        pass

    noted = Noted(x=1)
    noted.note = "n"
    assert noted.note == "n"
    del noted.note
    with pytest.raises(FrozenInstanceError):
        noted.x = 2
    with pytest.raises(FrozenInstanceError):
        del noted.x


def test_slots(decorator: Decorator) -> None:
    made = point(decorator)(x=1)
    assert made.__slots__ == ("x", "y", "tags", "secret")
    assert not hasattr(made, "__dict__")


def test_equality_and_hash(decorator: Decorator) -> None:
    made = point(decorator)
    assert made(x=1, tags=["a"]) == made(x=1, tags=["b"])
    assert made(x=1) != made(x=2)
    assert made(x=1) != (1, 2, "s")
    assert hash(made(x=1, tags=["a"])) == hash(made(x=1))
    assert len({made(x=1), made(x=1), made(x=2)}) == 2


def test_equality_is_of_one_class(decorator: Decorator) -> None:
    made = point(decorator)

    @decorator(**FROZEN, kw_only=True)
    class Other(made):  # type: ignore[misc, valid-type]  # a class
        """A value."""

    assert made(x=1) != Other(x=1)
    assert Other(x=1) == Other(x=1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_fields(decorator: Decorator, count: int) -> None:
    names = ("a", "b")[:count]
    body = {"__doc__": "A value.", "__annotations__": dict.fromkeys(names, float)}
    few = decorator(**FROZEN, kw_only=True)(type("Few", (), body))
    values = dict.fromkeys(names, 1.5)
    assert few(**values) == few(**values)
    assert hash(few(**values)) == hash(few(**values))
    assert repr(few(**values)) == f"Few({', '.join(f'{name}=1.5' for name in names)})"
    assert dataclasses.asdict(copy.copy(few(**values))) == values


def test_without_equality(decorator: Decorator) -> None:
    @decorator(**FROZEN, eq=False)
    class Thing:
        """A value."""

        x: int

    one = Thing(1)
    assert one == one  # noqa: PLR0124 - that is the point
    assert one != Thing(1)
    assert hash(one) == object.__hash__(one)


def test_repr(decorator: Decorator) -> None:
    assert repr(point(decorator)(x=1)) == "point.<locals>.Point(x=1, y=2, tags=[])"

    @decorator(**FROZEN, repr=False)
    class Silent:
        """A value."""

        x: int

    assert repr(Silent(1)).startswith("<")


def test_repr_of_an_object_within_itself(decorator: Decorator) -> None:
    made = point(decorator)(x=1)
    made.tags.append(made)
    assert repr(made) == "point.<locals>.Point(x=1, y=2, tags=[...])"


def test_methods_of_the_class_stay(decorator: Decorator) -> None:
    @decorator(**FROZEN)
    class Own:  # noqa: PLW1641 - the decorator adds a hash
        """A value."""

        x: int

        @override
        def __repr__(self) -> str:
            return "own"

        @override
        def __eq__(self, other: object) -> bool:
            return True

    @decorator(**FROZEN)
    class OwnHash:
        """A value."""

        x: int

        @override
        def __hash__(self) -> int:
            return 7

    assert repr(Own(1)) == "own"
    assert Own(1) == Own(2)
    assert hash(Own(1)) == hash((1,))
    assert hash(OwnHash(1)) == 7


def test_subclasses_have_the_fields_of_both(decorator: Decorator) -> None:
    made = point(decorator)

    @decorator(**FROZEN, kw_only=True)
    class Point3(made):  # type: ignore[misc, valid-type]  # a class
        """A value."""

        z: int
        y: int = 9

    assert repr(Point3(x=1, z=3)).endswith("Point3(x=1, y=9, tags=[], z=3)")
    assert [each.name for each in dataclasses.fields(Point3)] == ["x", "y", "tags", "secret", "z"]
    with pytest.raises(FrozenInstanceError):
        Point3(x=1, z=3).x = 2


@pytest.mark.parametrize("other", [dataclass, ours.dataclass])
def test_frozen_classes_of_either_kind_inherit_from_each_other(
    decorator: Decorator, other: Decorator
) -> None:
    made = point(decorator)

    @other(**FROZEN, kw_only=True)
    class Derived(made):  # type: ignore[misc, valid-type]  # a class
        """A value."""

        z: int

    assert (Derived(x=1, z=2).x, Derived(x=1, z=2).z) == (1, 2)
    with pytest.raises(FrozenInstanceError):
        Derived(x=1, z=2).z = 2
    with pytest.raises(TypeError, match="non-frozen"):
        other(slots=True)(type("Thawed", (made,), {"__annotations__": {"z": int}}))


def test_protocols_as_bases(decorator: Decorator) -> None:
    class Shape(Protocol):
        @property
        def x(self) -> int: ...

    @decorator(**FROZEN)
    class Circle(Shape):
        """A value."""

        x: int

    assert Circle(1).x == 1


def test_replace_fields_and_asdict(decorator: Decorator) -> None:
    made = point(decorator)(x=1)
    assert dataclasses.replace(made, x=5) == point_with(made, 5)
    assert dataclasses.asdict(made) == {"x": 1, "y": 2, "tags": [], "secret": "s"}


def point_with(made: Any, x: int) -> Any:
    """Return another one of the same class."""
    return type(made)(x=x)


def test_copies(decorator: Decorator) -> None:
    made = point(decorator)(x=1, tags=["a"])
    assert copy.copy(made) == made
    deep = copy.deepcopy(made)
    assert deep.tags == ["a"]
    assert deep.tags is not made.tags


def test_copies_of_a_subclass_without_slots_have_its_own_fields_too(decorator: Decorator) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Derived(point(decorator)):  # type: ignore[misc]  # a class
        z: int = 0

    assert copy.copy(Derived(x=1, z=5)) == Derived(x=1, z=5)


def test_a_mixin_of_a_plain_subclass_sees_its_attributes() -> None:
    seen = []

    class Watch:
        __slots__ = ()

        @override
        def __setattr__(self, name: str, value: object) -> None:
            seen.append(name)
            super().__setattr__(name, value)

    class Watched(ours.dataclass(**FROZEN)(type("Bare", (), {})), Watch):  # type: ignore[misc]  # a class
        pass

    Watched().note = "n"
    assert seen == ["note"]


def test_pickles(decorator: Decorator, monkeypatch: pytest.MonkeyPatch) -> None:
    made = point(decorator)
    made.__qualname__ = "Point"
    monkeypatch.setitem(globals(), "Point", made)
    assert pickle.loads(pickle.dumps(made(x=1, tags=["a"]))).tags == ["a"]


def test_what_is_not_frozen_changes_and_has_no_hash(decorator: Decorator) -> None:
    @decorator(slots=True)
    class Counter:
        """A counter."""

        name: str
        count: int = 0
        seen: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            self.count += 1

    made = Counter("n")
    made.count += 1
    assert made == Counter("n", 1)
    assert made != Counter("m", 1)
    assert repr(made).endswith("Counter(name='n', count=2, seen=[])")
    assert Counter.__match_args__ == ("name", "count", "seen")
    assert vars(Counter)["__hash__"] is None
    assert copy.copy(made) == made
    with pytest.raises(AttributeError):
        made.other = 1


def test_what_is_not_frozen_and_not_compared_has_the_hash_of_an_object(decorator: Decorator) -> None:
    @decorator(slots=True, eq=False)
    class Thing:
        """A thing."""

        x: int

    made = Thing(1)
    assert len({made, Thing(1)}) == 2


def test_a_hash_of_its_own_stays_where_nothing_is_frozen(decorator: Decorator) -> None:
    @decorator(slots=True)
    class Thing:
        """A thing."""

        x: int

        @override
        def __hash__(self) -> int:
            return 7

    assert hash(Thing(1)) == 7


def test_classes_with_as_many_fields_have_their_own_parameters(decorator: Decorator) -> None:
    def made(*names: str) -> Any:
        body = {"__doc__": "A value.", "__annotations__": dict.fromkeys(names, int)}
        return decorator(**FROZEN, kw_only=True)(type("Made", (), body))

    one, other = made("a", "b"), made("c", "d")
    assert repr(one(a=1, b=2)) == "Made(a=1, b=2)"
    assert repr(other(d=1, c=2)) == "Made(c=2, d=1)"
    with pytest.raises(TypeError, match="'a'"):
        other(a=1, c=1, d=1)


def test_dataclasses_without_slots_are_the_standard_librarys(decorator: Decorator) -> None:
    @decorator
    class Plain:
        x: int = 1

    @decorator(frozen=True, order=True)
    class Ordered:
        x: int = 1

    assert Plain() == Plain(1)
    assert Ordered(1) < Ordered(2)


def test_an_init_var_is_refused_where_there_are_slots() -> None:
    with pytest.raises(TypeError, match="Made has an InitVar"):

        @ours.dataclass(slots=True)
        class Made:
            x: dataclasses.InitVar[int]
