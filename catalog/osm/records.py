"""Define what travels between reading, keeping and drawing OpenStreetMap data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.grid import BoundsLonLat

ELEMENTS = ("node", "way", "relation")
"""OSM's element types; features hold the index into this tuple."""
Tags = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ExtractFacts:
    """Say which OSM file this is and what it says about itself."""

    path: str
    """Absolute path."""
    sha256: str
    """Of the whole file, 64 hexadecimal digits."""
    size: int
    """Bytes."""
    timestamp: dt.datetime | None
    """State of the OSM database, UTC, as the file's header says; None when it does not."""
    sequence: int | None
    """Replication sequence number."""
    replication_url: str | None
    generator: str | None
    """Program that wrote the file."""
    bounds: BoundsLonLat | None
    """Box that the file says it covers; else, where a whole file is taken, the box of its nodes."""
    modified: dt.datetime
    """Of the file, UTC: no feature can be younger."""
    server: str | None = None
    """Address of the Overpass server that sent the data; None where the file came from elsewhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OsmFeatures:
    """Hold n features as parallel arrays, sorted by element and id, each (element, id) once."""

    elements: NDArray[np.uint8]
    """``(n,)`` index into :data:`ELEMENTS`."""
    ids: NDArray[np.int64]
    """``(n,)``; unique within an element type."""
    geometries: NDArray[np.object_]
    """``(n,)`` shapely geometries, lon/lat degrees WGS 84; valid, not empty."""
    tags: tuple[Tags, ...]
    timestamps: NDArray[np.datetime64]
    """``(n,)`` datetime64[s] UTC of each feature's last edit; NaT where unknown."""

    def __len__(self) -> int:
        """Return the number of features."""
        return int(self.ids.size)

    def take(self, rows: NDArray[Any]) -> OsmFeatures:
        """Return some rows, by index or by mask, in that order."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return OsmFeatures(
            elements=self.elements[chosen],
            ids=self.ids[chosen],
            geometries=self.geometries[chosen],
            tags=tuple(self.tags[row] for row in chosen.tolist()),
            timestamps=self.timestamps[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class QuarantinedFeature:
    """Name one element that ought to be a feature and cannot be, and why."""

    element: str
    """``node``, ``way`` or ``relation``."""
    id: int
    reason: str
    """A short code: see ``catalog.osm.reasons``."""
    detail: str
    """One sentence, with the ids concerned."""
    tags: Tags


@dataclass(frozen=True, kw_only=True, eq=False)
class OsmReading:
    """Hold what was read of an area: features, and what could not become one."""

    features: OsmFeatures
    quarantined: tuple[QuarantinedFeature, ...]
    """Sorted by element and id."""
    repaired: int
    """Features whose geometry was mended: made valid, or cut at the antimeridian."""

    @property
    def found(self) -> int:
        """Elements of the area that ought to be features: rows and quarantined together."""
        return len(self.features) + len(self.quarantined)
