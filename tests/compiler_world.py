"""A schema in which everything can go wrong, and worlds that say what does.

A world is made of a seed: the same seed gives equal values, errors and delays wherever they are
asked for, however often. It writes down who was asked, in order.
"""

import asyncio
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, NewType, TypeVar, cast
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.permission import BasePermission
from strawberry.schema.config import StrawberryConfig

T = TypeVar("T")

Money = NewType("Money", int)


def dollars(value: Any) -> Any:
    """A serialiser that is picky, and that sometimes answers nothing."""
    if value == 13:
        raise ValueError("unlucky money")
    return None if value == 0 else f"${value}"


MONEY = strawberry.scalar(name="Money", serialize=dollars, parse_value=int)


@strawberry.enum
class Colour(Enum):
    """Two names for one of its members, and one that Python does not have."""

    RED = "r"
    GREEN = strawberry.enum_value("g", name="VERT")
    BLUE = "b"
    AZURE = "b"  # noqa: PIE796


class Text(str):
    """A string that is not exactly one."""

    __slots__ = ()


class Soon:
    """Awaitable as often as one likes."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        """Says no address."""
        return "Soon()"

    def __await__(self) -> Generator[Any, None, Any]:
        """The value, or the error that it is."""
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Once:
    """An iterable that is empty the second time."""

    def __init__(self) -> None:
        self.left = ["a", "b"]

    def __repr__(self) -> str:
        """Says no address."""
        return "Once()"

    def __iter__(self) -> Iterator[str]:
        """What is left."""
        while self.left:
            yield self.left.pop()


class Fickle:
    """Its name is another one each time."""

    def __init__(self) -> None:
        self.reads = 0

    @property
    def name(self) -> str | None:
        """None at first."""
        self.reads += 1
        return None if self.reads == 1 else str(self.reads)

    nick = name


@dataclass
class World:
    """The context of an execution; trouble: how likely each thing goes wrong."""

    seed: int
    trouble: float = 0.0
    asked: list[tuple[str | int, ...]] = field(default_factory=list)

    def dice(self, *what: Any) -> random.Random:
        """Chance, the same for the same question."""
        return random.Random(f"{self.seed} {what}")  # noqa: S311

    def ask(self, info: strawberry.Info[Any, Any]) -> random.Random:
        """Notes a resolver's call; the dice of its place."""
        path = tuple(info.path.as_list())
        self.asked.append(path)
        return self.dice(path)

    def outcome(self, dice: random.Random, good: Callable[[], T]) -> T:
        """What a resolver answers, or raises."""
        if dice.random() >= self.trouble:
            return good()
        wrong = dice.choice(
            [None, ValueError("raised"), Refusal("refused"), GraphQLError("told"), *strange()]
        )
        if isinstance(wrong, Exception) and dice.random() < 0.7:
            raise wrong
        return cast("T", wrong)

    async def pause(self, dice: random.Random) -> None:
        """Lets others go first, up to three times."""
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    def thing(self, where: Any, depth: int = 0) -> "Thing":
        """A thing with everything below it, some of it wrong."""
        dice = self.dice("thing", where)

        def or_wrong(good: Any) -> Any:
            return good if dice.random() >= self.trouble / 2 else dice.choice(strange())

        def some(make: Callable[[], Any], most: int = 3) -> list[Any]:
            return [or_wrong(make()) for _ in range(dice.randrange(most))]

        below = iter(range(10))

        def another() -> Any:
            return self.thing((where, next(below)), depth + 1) if depth < 2 else None

        made: dict[str, Any] = {
            "id": strawberry.ID(str(dice.randrange(99))),
            "name": dice.choice(["a", "ü\n\"'{}", ""]),
            "nick": dice.choice([None, "n"]),
            "size": dice.choice([1, -7, 2**31 - 1]),
            "weight": dice.choice([1.5, -0.0, 3]),
            "ok": dice.choice([True, False]),
            "colour": dice.choice(list(Colour)),
            "shade": dice.choice([None, Colour.GREEN]),
            "born": datetime(2026, 1, 2, 3, 4, 5, dice.choice([0, 678]), UTC),
            "day": date(2026, 1, 2),
            "hour": time(3, 4),
            "key": UUID(int=dice.randrange(99)),
            "exact": Decimal("1.50"),
            "price": dice.choice([1, 2]),
            "tags": some(lambda: "t"),
            "odd_tags": dice.choice([None, some(lambda: dice.choice([None, "t"]))]),
            "grid": some(lambda: some(lambda: 1)),
            "child": dice.choice([None, another()]) if depth < 2 else None,
            "children": some(another) if depth < 2 else [],
            "maybe_children": some(another) if depth < 2 else None,
            "badge": dice.choice([None, Badge(label="b", rank=1)]),
            "plaque": dice.choice([None, Plaque(inscription="")]),
        }
        if depth < 2:
            made["twin"] = another()
        else:
            made["twin"] = Other(size=1)  # of a class that is not the type's
        return Thing(**{name: or_wrong(value) for name, value in made.items()})


class Refusal(Exception):
    """An error with extensions, as Strawberry and graphql-core take them over."""

    extensions: ClassVar = {"code": "REFUSED"}


class Never(BasePermission):
    """Allows nothing to an odd world."""

    message = "not for you"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        """Whether the world is even."""
        del source, kwargs
        return bool(info.context.seed % 2 == 0)


@strawberry.interface
class Named:
    """Abstract: what asks for it is not compiled."""

    label: str


@strawberry.type
class Badge(Named):
    """An object type that graphql-core checks with is_type_of."""

    rank: int


@strawberry.type
class Plaque:
    """An attribute that runs code, as a property does, is left to graphql-core."""

    inscription: str


Plaque.inscription = property(lambda _: "here lies", lambda *_: None)  # type: ignore[assignment]


@strawberry.type
class Other:
    """Small, and not a Thing."""

    size: int


Info = strawberry.Info[World, None]


@strawberry.type
class Thing:
    """One field of each kind."""

    id: strawberry.ID
    name: str
    nick: str | None
    size: int
    weight: float
    ok: bool
    colour: Colour
    shade: Colour | None
    born: datetime
    day: date
    hour: time
    key: UUID
    exact: Decimal
    price: Money
    tags: list[str]
    odd_tags: list[str | None] | None
    grid: list[list[int]]
    child: "Thing | None"
    twin: "Thing"
    children: list["Thing"]
    maybe_children: list["Thing | None"] | None
    badge: Badge | None
    plaque: Plaque | None

    @strawberry.field
    def sync(self, info: Info, n: int = 3) -> str:
        """Asks its own object."""
        dice = info.context.ask(info)
        return info.context.outcome(dice, lambda: f"{n} {type(self).__name__}")

    @strawberry.field
    async def later(self, info: Info) -> str | None:
        """Waits."""
        dice = info.context.ask(info)
        await info.context.pause(dice)
        return info.context.outcome(dice, lambda: "later")

    @strawberry.field
    async def friend(self, info: Info) -> "Thing":
        """Waits for another."""
        dice = info.context.ask(info)
        await info.context.pause(dice)
        return info.context.outcome(dice, lambda: info.context.thing(info.path, 1))

    @strawberry.field(permission_classes=[Never])  # type: ignore[untyped-decorator]
    def guarded(self) -> str:
        """Behind an extension."""
        return "treasure"


@strawberry.input
class Point:
    """An input object."""

    x: int
    y: int = 2
    colour: Colour | None = None
    note: str | None = strawberry.UNSET


@strawberry.input(one_of=True)
class Choice:
    """One of two."""

    name: strawberry.Maybe[str] = None
    point: strawberry.Maybe[Point] = None


def strange() -> list[Any]:
    """Values that few fields may have."""
    return [
        None,
        ValueError("a value"),
        GraphQLError("a told value"),
        Text("text"),
        2**40,
        float("nan"),
        Ellipsis,
        "RED",
        13,
        0,
        True,
        {"size": 1},
        ("a", "b"),
        Once(),
        SimpleNamespace(size=1, id="1", name="namespace"),
        Soon("soon"),
        Soon(None),
        Soon(ValueError("soon wrong")),
    ]


def things(world: World, info: Info) -> list[Any]:
    """Several, one of which may be wrong."""
    dice = world.dice("things", info.path)
    found: list[Any] = [world.thing((info.path, n)) for n in range(dice.randrange(4))]
    if found and dice.random() < world.trouble:
        found[-1] = dice.choice(strange())
    return found


@strawberry.type
class Query:
    """Roots of each kind."""

    @strawberry.field
    def thing(self, info: Info) -> Thing | None:
        """Synchronous, and may be null."""
        world = info.context
        return world.outcome(world.ask(info), lambda: world.thing(info.path))

    @strawberry.field
    def sure_thing(self, info: Info) -> Thing:
        """Synchronous, and may not be null."""
        world = info.context
        return world.outcome(world.ask(info), lambda: world.thing(info.path))

    @strawberry.field
    async def slow_thing(self, info: Info) -> Thing | None:
        """Not at once."""
        world, dice = info.context, info.context.ask(info)
        await world.pause(dice)
        return world.outcome(dice, lambda: world.thing(info.path))

    @strawberry.field
    async def things(self, info: Info, *, many: bool = True) -> list[Thing]:
        """A list, not at once; its argument is the same each time."""
        world, dice = info.context, info.context.ask(info)
        await world.pause(dice)
        return world.outcome(dice, lambda: things(world, info) if many else [])

    @strawberry.field
    def maybe_things(self, info: Info) -> list[Thing | None] | None:
        """A list of what may be null."""
        world = info.context
        return world.outcome(world.ask(info), lambda: things(world, info))

    @strawberry.field
    def echo(  # noqa: PLR0917 - one argument of each kind
        self,
        info: Info,
        text: str = "d",
        n: int | None = None,
        colour: Colour = Colour.RED,
        points: list[Point] | None = None,
        ids: Annotated[list[strawberry.ID] | None, strawberry.argument(name="IDs")] = None,
        choice: Choice | None = None,
        born: datetime | None = None,
    ) -> str:
        """Tells its arguments."""
        info.context.ask(info)
        return repr((text, n, colour, points, ids, choice, born))

    @strawberry.field
    def told(self, info: Info, n: int | None = 4) -> str:
        """Everything that its info says."""
        info.context.ask(info)
        raw = info._raw_info
        return repr(
            (
                *(info.field_name, info.python_name, info.path, info.selected_fields, n),
                *(info.variable_values, info.root_value, info.return_type, info.query),
                *(info.operation.name, info.schema is SCHEMA, raw.fragments.keys()),
                *(raw.return_type, raw.parent_type, len(raw.field_nodes), raw.abort_signal),
                *(raw.is_awaitable(Soon(1)), [x.__name__ for x in raw.async_helpers]),
            )
        )

    @strawberry.field
    def source(self) -> str:
        """No arguments, no info."""
        return repr(self)

    @strawberry.field
    def returned_error(self, info: Info) -> int | None:
        """Returns an exception."""
        info.context.ask(info)
        return cast("int", ValueError("returned"))

    @strawberry.field
    def promised(self, info: Info) -> int:
        """A synchronous resolver that returns an awaitable."""
        info.context.ask(info)
        return cast("int", Soon(5))

    @strawberry.field(permission_classes=[Never])  # type: ignore[untyped-decorator]
    async def guarded(self, info: Info) -> Thing | None:
        """Behind an extension."""
        info.context.ask(info)
        return info.context.thing("guarded")

    @strawberry.field
    def pile(self, items: list[int] = [1]) -> int:  # noqa: B006 - the point
        """Changes what it is given."""
        items.append(0)
        return len(items)

    @strawberry.field
    def fickle(self, info: Info) -> Thing | None:
        """No Thing."""
        info.context.ask(info)
        return cast("Thing", Fickle())

    @strawberry.field
    def named(self) -> Named | None:
        """Abstract."""
        return Badge(label="b", rank=1)

    @strawberry.field
    def either(self) -> Annotated[Badge | Other, strawberry.union("Either")]:
        """Abstract."""
        return Other(size=1)


@strawberry.type
class Mutation:
    """One after the other."""

    @strawberry.mutation
    async def change(self, info: Info, n: int = 1) -> Thing | None:
        """Not at once."""
        world, dice = info.context, info.context.ask(info)
        await world.pause(dice)
        world.asked.append(("changed", n, *info.path.as_list()))
        return world.outcome(dice, lambda: world.thing(info.path))

    @strawberry.mutation
    def set(self, info: Info) -> Thing:
        """At once, and not null."""
        world = info.context
        return world.outcome(world.ask(info), lambda: world.thing(info.path))


SCHEMA = strawberry.Schema(
    query=Query, mutation=Mutation, config=StrawberryConfig(scalar_map={Money: MONEY})
)
