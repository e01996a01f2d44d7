"""What the readers of labelled sets answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from catalog.pairs.records import Picture

NOTHING = -1
"""A pixel of a class map of which nothing is known."""

Labelled = TypeVar("Labelled", covariant=True)


@dataclass(frozen=True)
class ClassMap:
    """An image with the class of every pixel.

    Attributes:
        image: the picture.
        classes: int64 (height, width), 0 and up; −1 where nothing is known.
        left_out: shapes of the file they were drawn from that are of another kind, or lie beside the image.
    """

    image: Picture
    classes: NDArray[np.int64]
    left_out: int = 0


@dataclass(frozen=True)
class HeightMap:
    """An image with heights above the ground.

    Attributes:
        image: the picture.
        height_m: float32 (height, width), metres; NaN where none is known.
    """

    image: Picture
    height_m: NDArray[np.float32]


@dataclass(frozen=True)
class ClassChange:
    """Two images of one place, before and after, with a class for every pixel: changed, or how damaged.

    Attributes:
        before: the earlier picture.
        after: the later one, of the same size; perhaps of another sensor.
        classes: int64 (height, width), 0 for what stayed or is no building; −1 where nothing is known.
    """

    before: Picture
    after: Picture
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class BoxedImage:
    """An image with boxes around objects.

    Attributes:
        image: the picture.
        boxes_xyxy: float64 (n, 4), left, top, right, bottom in pixels' edges, within the image.
        labels: int64 (n,), 0 and up, an index into the set's class names.
        crowd: bool (n,), a box around many objects that are not told apart.
        left_out: shapes of the file they were drawn from that are of another kind, too small, or lie beside
            the image.
    """

    image: Picture
    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    left_out: int = 0


@dataclass(frozen=True)
class LabelledSource(Generic[Labelled]):
    """A labelled image that is known to be there and has not been read.

    Attributes:
        id: unlike all others of its set, and the same however often the set is read.
        read: reads image and labels.
    """

    id: str
    read: Callable[[], Labelled]
