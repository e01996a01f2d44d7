"""Define what a run's page says: frozen records, no HTML and no I/O.

RunRecord (what the flow saw happen) + plans + receipts → RunFacts (what the page says).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catalog.grid import BoundsLonLat

State = Literal["planned", "written", "reused", "quarantined"]
"""``planned`` is what a run leaves behind that ended before the cube's turn."""

_CREDENTIALS = re.compile(r"(?<=://)[^\s'\"<>]*@")  # up to the last "@": passwords hold "@" and "/"
_QUERY = re.compile(r"((?:\w+://|/vsi)[^\s?'\"<>]+)\?[^\s'\"<>]+")


def hide_secrets(text: str) -> str:
    """Take user names, passwords and queries out of the addresses in a text: signatures travel there."""
    return _QUERY.sub(r"\1?…", _CREDENTIALS.sub("", text))


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """Say what was asked for."""

    bbox: BoundsLonLat
    dates: str
    """Interval ``A/B`` as it was given."""
    source: str
    collections: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    """Name and value of everything else, in the order to show."""
    product: str = "cube"
    """What one product is called, singular."""
    unit: str = "tile"
    """What is read to make one, singular."""


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """Say how long one stage of a run took."""

    name: str
    seconds: float
    """Wall clock."""
    size: int | None = None
    """Bytes that the stage wrote; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Say what a run did about one planned cube."""

    id: str
    state: State
    catalogued: bool = False
    """The catalogue was seen to hold the item."""
    reason: str | None = None
    """Why it is in quarantine."""
    tiles_read: int = 0
    seconds: float | None = None
    """Wall clock of the cube's own task; None where this run did not write it."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Hold what a flow saw happen: all that its page needs beside plans and receipts."""

    run: str
    started: dt.datetime
    seconds: float
    request: RequestFacts
    stages: tuple[StageFacts, ...]
    deeds: tuple[Deed, ...]
    """One for each planned cube, in the plan's order."""
    store: str
    catalogue: str
    """STAC API URL or SQLite path."""
    execution_href: str | None = None
    """Lasting URL of the run in a Prefect server."""
    failure: str | None = None
    """Why the run ended early; None when it ended well."""

    def count(self, state: State) -> int:
        """Count the planned cubes of which one thing became."""
        return sum(deed.state == state for deed in self.deeds)

    @property
    def catalogued(self) -> int:
        """Planned cubes whose items the catalogue was seen to hold."""
        return sum(deed.catalogued for deed in self.deeds)

    @property
    def planned(self) -> int:
        """Cubes of the plan."""
        return len(self.deeds)

    @property
    def tiles_read(self) -> int:
        """Work units whose pixels were read."""
        return sum(deed.tiles_read for deed in self.deeds)

    @property
    def bytes_written(self) -> int | None:
        """Bytes of the cubes this run wrote, as its stages state them."""
        sizes = [stage.size for stage in self.stages if stage.size is not None]
        return sum(sizes) if sizes else None

    @property
    def verdict(self) -> str:
        """The first line: how it went."""
        bad = self.count("quarantined")
        products = self.request.product + ("" if self.planned == 1 else "s")
        counts = f"{self.catalogued} of {self.planned} {products} catalogued, {bad} quarantined"
        if self.failure is not None:
            return f"Failed: {self.failure} ({counts})"
        return counts if self.planned else "No scene matches the request: nothing to do"

    @property
    def outcome(self) -> Literal["good", "mixed", "bad"]:
        """Say in one word what colour the verdict has."""
        if self.failure is not None:
            return "bad"
        return "good" if self.planned and self.catalogued == self.planned else "mixed"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Hold one small picture of a cube, ready to be put into a page."""

    cube: str
    heading: str
    """What is pictured, e.g. ``Sentinel-2 L2A, 2024-06-01``."""
    title: str
    """What it shows, e.g. ``True colour (red, green, blue)``."""
    data_uri: str
    size_xy: tuple[int, int]
    """Pixels."""


@dataclass(frozen=True, kw_only=True)
class CubeFacts:
    """Hold one row of the table of cubes."""

    deed: Deed
    title: str
    """Readable name of the source collection."""
    day: dt.date | None
    source_items: tuple[tuple[str, str | None], ...]
    """Id and address of the first inputs; the address may be anything, it is foreign text."""
    more_items: int
    """Inputs that are not listed."""
    tiles: int
    size: int | None
    """Bytes that stand in the store; None where no receipt does."""
    valid_percent: float | None
    """Share of the grid that holds data, 0 to 100, of the fullest data band."""
    plan_digest: str
    item_href: str | None
    """Item in an API, else None."""
    folder_href: str
    """Folder of the product, relative to the page, without slash at its end."""


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """Hold what the map shows: GeoJSON geometries, lon/lat degrees, split at the antimeridian."""

    request: BoundsLonLat
    grids: tuple[Mapping[str, Any], ...]
    """Outline of each distinct grid."""
    footprints: tuple[tuple[str, State, Mapping[str, Any]], ...]
    """Cube id, what became of it, where its data lie."""
    left_out: int = 0
    """Cubes that are not drawn because there are too many."""
    picture: Picture | None = None
    """Shown underneath."""
    picture_corners: tuple[tuple[float, float], ...] = ()
    """Upper left, upper right, lower left of the picture, lon/lat."""


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """Hold one more table of a page; its last column holds numbers."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Hold everything a page says."""

    record: RunRecord
    cubes: tuple[CubeFacts, ...]
    """Rows to show; quarantined and unfinished cubes always come before others are left out."""
    map: MapFacts
    pictures: tuple[Picture, ...]
    drawable: int
    """Cubes that have a picture in the store, shown or not."""
    software: tuple[tuple[str, str], ...]
    """Package and version, or versions where cubes differ."""
    tables: tuple[TableFacts, ...]
    digest: str
    """SHA-256 over the plans' digests: the same for every run of the same plan."""
    dask_report: bool
    """Dask's report lies beside the page."""
