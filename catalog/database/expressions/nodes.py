"""Name the parts of a filter; plain data, checked by the parser, read by evaluation and push-down.

Values have one Python type each, so that ``type(a) is type(b)`` tells whether two may be compared: ``float``
is a number, ``str`` text, ``bool`` a boolean and ``int`` a moment (microseconds since 1970). None is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf

from shapely.geometry.base import BaseGeometry

PLAIN_NAMES = frozenset({"id", "collection"})
"""Names that are fields of the item, not properties, and always text: never read as moments."""
ITEM_NAMES = PLAIN_NAMES | {"geometry"}
"""Every name that is not looked up in ``properties``."""

Order = OneOf["=", "<>", "<", "<=", ">", ">="]
Sum = OneOf["+", "-", "*", "/", "%", "^", "div"]
Fold = OneOf["casei", "accenti"]
SpatialRelation = OneOf["intersects", "equals", "touches", "within", "overlaps", "crosses", "contains"]
ArrayRelation = OneOf["a_equals", "a_contains", "a_containedBy", "a_overlaps"]
Value = float | int | str | bool | None
"""See the module's text: the type tells the kind."""


@dataclass(frozen=True, slots=True)
class Name:
    """Stand for the value of a property, or of the item's ``id``, ``collection`` or ``geometry``."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """Hold a number, text or boolean; the text may spell a moment, which depends on what it meets."""

    value: float | str | bool


@dataclass(frozen=True, slots=True)
class Moment:
    """Hold a moment that was spelt as one: ``TIMESTAMP``, ``DATE`` or the end of an interval."""

    moment_us: int


@dataclass(frozen=True, slots=True)
class Instant:
    """Stand for a property where only a moment will do; any other value is unknown."""

    name: Name


@dataclass(frozen=True, slots=True)
class Calculation:
    """Combine two numbers; unknown where the result is not a finite number."""

    op: Sum
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Folded:
    """Strip text of its case (``casei``) or its accents (``accenti``)."""

    fold: Fold
    operand: Operand


Operand = Name | Literal | Moment | Instant | Calculation | Folded


@dataclass(frozen=True, slots=True)
class Array:
    """Hold a list written in the filter."""

    members: tuple[Operand | Array, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """Hold a condition that is ``TRUE`` or ``FALSE`` as it stands."""

    value: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """Use a boolean property as a condition."""

    name: Name


@dataclass(frozen=True, slots=True)
class And:
    """Hold where every member holds."""

    members: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Hold where any member holds."""

    members: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Hold where the member is known not to."""

    member: Predicate


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compare two values; unknown when they are of different kinds."""

    op: Order
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Between:
    """Hold where ``low <= operand`` and ``operand <= high``."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class Among:
    """Hold where the operand equals any member (``in``)."""

    operand: Operand
    members: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Like:
    r"""Hold where text matches: ``%`` is any run, ``_`` any one character, ``\`` takes the next as it is."""

    operand: Operand
    pattern: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """Hold where the operand is absent, null or cannot be worked out; never unknown."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Spatial:
    """Relate the item's geometry, on the left, to a shape; unknown for an item without geometry."""

    relation: SpatialRelation
    shape: BaseGeometry


@dataclass(frozen=True, slots=True)
class ArrayComparison:
    """Relate two arrays as sets; unknown where a side is no array."""

    relation: ArrayRelation
    left: Name | Array
    right: Name | Array


Predicate = (
    Constant
    | Flag
    | And
    | Or
    | Not
    | Comparison
    | Between
    | Among
    | Like
    | IsNull
    | Spatial
    | ArrayComparison
)


@dataclass(frozen=True, slots=True)
class Expression:
    """Hold a checked filter."""

    root: Predicate
    properties: frozenset[str]
    """Every name it refers to, without a leading ``properties.``; may include :data:`ITEM_NAMES`."""
