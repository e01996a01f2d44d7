"""Tell a page what it needs of a planned product, whatever its kind."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catalog.embeddings.plan import EmbeddingPlan, EmbeddingReceipt, list_sections
from catalog.footprints import find_footprint
from catalog.grid import list_tiles
from catalog.items.assets import cube_bands, pixel_size_m
from catalog.items.fields import spell_day
from catalog.osm.plan import OsmPlan, OsmReceipt
from catalog.pictures.previews import choose_rgb
from catalog.products import PlacedPlan, ProductReceipt, collection_of, digest_of
from catalog.records import CubePlan, CubeReceipt, Grid
from catalog.registrations.plan import RegistrationPlan, RegistrationReceipt
from catalog.report.facts import TableFacts

_FIGURES = {
    "matched": "Tie points found by the matcher",
    "points": "Tie points sought on an even grid and found",
    "inliers": "Those of them that agree with the transform",
    "ratio": "Their share",
    "spread": "Share of the scene's cells that hold one",
    "log10_chance": "Probability that so many agree by chance",
    "rmse_px": "Residual of those that agree, root mean square",
    "left_out_px": "Residual at tie points left out of the fit",
    "halves_px": "How far the scene's halves disagree",
    "shift_px": "Largest correction in the scene",
    "lean_px": "Mean lean of what stands towards the radar, taken out",
}
"""Figure of a registration → what it is, for readers, in the order to list them."""
_SHARES = frozenset({"ratio", "spread"})
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Hold what a page says of one planned product beside what became of it."""

    id: str
    title: str
    """What it is made from, readable."""
    day: dt.date | None
    """Of the data; None where they do not say."""
    inputs: tuple[tuple[str, str | None], ...]
    """Id and address of everything it is made from."""
    units: int
    """Work units that it takes."""
    collection: str
    path: str
    """Folder, relative to the store's root."""
    digest: str
    grid: Grid
    footprint: Mapping[str, Any]
    """GeoJSON geometry."""
    picture_title: str
    clearness: float | None
    """Orders pictures that show as much of the place: larger is better; None for one that is no map of it."""


def describe_subject(plan: PlacedPlan) -> Subject:
    """Describe a planned product."""
    if isinstance(plan, RegistrationPlan):
        return _describe_registration(plan)
    if isinstance(plan, EmbeddingPlan):
        return _describe_embedding(plan)
    return _describe_cube(plan) if isinstance(plan, CubePlan) else _describe_osm(plan)


def valid_percent(plan: PlacedPlan, receipt: ProductReceipt | None) -> float | None:
    """Return the valid share of a cube's fullest data band, %; of any band where all are quality bands."""
    if not (isinstance(plan, CubePlan) and isinstance(receipt, CubeReceipt)):
        return None
    quality = {band.name for scene in plan.group.scenes for band in scene.bands if band.quality}
    names = [name for name in plan.bands if name not in quality] or list(plan.bands)
    found = [receipt.statistics[name].valid_percent for name in names if name in receipt.statistics]
    known = [percent for percent in found if math.isfinite(percent)]
    return max(known, default=None)


def describe_tables(plan: PlacedPlan, receipt: ProductReceipt | None) -> tuple[TableFacts, ...]:
    """Give the tables that a page shows of one product alone: a map's elements, other products' figures."""
    if isinstance(plan, RegistrationPlan) and isinstance(receipt, RegistrationReceipt):
        return (_registration_table(plan, receipt),)
    if isinstance(plan, EmbeddingPlan) and isinstance(receipt, EmbeddingReceipt):
        return (_embedding_table(plan, receipt),)
    if not (isinstance(plan, OsmPlan) and isinstance(receipt, OsmReceipt)):
        return ()
    kept = [("nodes", receipt.nodes), ("ways", receipt.ways), ("relations", receipt.relations)]
    rows = [(f"kept, {name}", f"{count:,}") for name, count in kept]
    rows += [(f"quarantined: {why}", f"{count:,}") for why, count in sorted(receipt.quarantined.items())]
    caption = (
        f"{receipt.found:,} elements of the area ought to be features: {receipt.features:,} are, "
        f"{receipt.found - receipt.features:,} are in quarantine. {receipt.repaired:,} were mended."
    )
    return (
        TableFacts(title="Features", caption=caption, header=("Elements", "Number"), rows=tuple(rows)),
        *_graph_table(receipt),
    )


def _graph_table(receipt: OsmReceipt) -> tuple[TableFacts, ...]:
    if not receipt.graph:
        return ()
    rows = tuple((name, f"{count:,}") for name, count in receipt.graph.items())
    caption = "Nodes by kind of geometry, and edges by the kinds they join, self loops included."
    return (TableFacts(title="Graph", caption=caption, header=("Nodes or edges", "Number"), rows=rows),)


def _describe_cube(plan: CubePlan) -> Subject:
    scenes = plan.group.scenes
    return Subject(
        id=plan.id,
        title=scenes[0].title or plan.group.collection,
        day=plan.group.day,
        inputs=tuple((scene.id, scene.self_href) for scene in scenes),
        units=len(list_tiles(plan.grid)),
        collection=collection_of(plan),
        path=plan.path,
        digest=digest_of(plan),
        grid=plan.grid,
        footprint=find_footprint(scenes, plan.grid).geometry,
        picture_title=choose_rgb(cube_bands(plan)).title,
        clearness=-_cloud_cover(plan),
    )


def _describe_osm(plan: OsmPlan) -> Subject:
    timestamp = plan.extract.timestamp
    return Subject(
        id=plan.id,
        title="OpenStreetMap",
        day=None if timestamp is None else timestamp.date(),
        inputs=((plan.extract.path.rpartition("/")[2], plan.source),),
        units=1,
        collection=collection_of(plan),
        path=plan.path,
        digest=digest_of(plan),
        grid=plan.grid,
        footprint=find_footprint((), plan.grid).geometry,
        picture_title="Drawn map",
        clearness=0.0,
    )


def _describe_registration(plan: RegistrationPlan) -> Subject:
    scenes = (plan.fixed, plan.moving)
    return Subject(
        id=plan.id,
        title=plan.moving.title.split(" · ")[0],
        day=plan.moving.datetime.date(),
        inputs=tuple((scene.id, None) for scene in scenes),
        units=len(scenes),
        collection=collection_of(plan),
        path=plan.path,
        digest=digest_of(plan),
        grid=plan.grid,
        footprint=find_footprint((), plan.grid).geometry,
        picture_title="Checkerboard, before and after",
        clearness=None,
    )


def _describe_embedding(plan: EmbeddingPlan) -> Subject:
    return Subject(
        id=plan.id,
        title=f"{plan.scene.title.split(' · ')[0]} by {plan.model}",
        day=plan.scene.datetime.date(),
        inputs=tuple((each.scene.id, None) for each in plan.inputs),
        units=len(list_sections(plan)),
        collection=collection_of(plan),
        path=plan.path,
        digest=digest_of(plan),
        grid=plan.grid,
        footprint=find_footprint([plan.scene], plan.scene.grid).geometry,
        picture_title="Principal components of the vectors",
        clearness=0.0,
    )


def _embedding_table(plan: EmbeddingPlan, receipt: EmbeddingReceipt) -> TableFacts:
    rows, cols = plan.grid.shape_yx
    figures = {
        "cells": f"{cols:,} × {rows:,}",
        "tiles with a vector": f"{receipt.tiles:,}",
        "largest error of stored numbers": f"{receipt.error.maximum:.3g}",
        "their RMS error": f"{receipt.error.rms:.3g}",
        "components clipped": f"{receipt.error.clipped:,}",
    }
    return TableFacts(
        title=plan.id,
        caption=f"Vectors of {plan.settings.width} numbers, stored as {plan.settings.dtype}.",
        header=("Figure", "Value"),
        rows=tuple(figures.items()),
    )


def _registration_table(plan: RegistrationPlan, receipt: RegistrationReceipt) -> TableFacts:
    """Give what a verdict rests on, in the order of the argument: found, agreeing, how well, how far."""
    pixel_m = pixel_size_m(plan.grid)
    known = {name: value for name, value in receipt.figures.items() if value is not None}
    if receipt.left_out_px:
        known.pop("left_out_px", None)  # of the kind that was chosen; listed with the others
    order = [*(name for name in _FIGURES if name in known), *(name for name in known if name not in _FIGURES)]
    rows = [(_FIGURES.get(name, name), _spell_figure(name, known[name], pixel_m)) for name in order]
    for kind, value in receipt.left_out_px.items():
        chosen = ", chosen" if kind == receipt.model else ""
        told = f"Residual at tie points left out of the fit: {kind}{chosen}"
        rows.append((told, _spell_figure("left_out_px", value, pixel_m)))
    scenes = (
        f"{scene.title.split(' · ')[0]} of {spell_day(scene.datetime.date())}"
        for scene in (plan.moving, plan.fixed)
    )
    return TableFacts(
        title=" to ".join(scenes) + (": registered" if receipt.registered else ": not registered"),
        caption=receipt.explanation,
        header=("Figure", "Value"),
        rows=tuple(rows),
    )


def _spell_figure(name: str, value: float, pixel_m: float) -> str:
    if name == "log10_chance":
        power = math.ceil(value)
        return "at most 10" + str(power).translate(_SUPERSCRIPTS) if power else "up to 1"
    if name.endswith("_px"):
        return f"{value:.2f} px, {value * pixel_m:.{0 if pixel_m >= 10 else 2}f} m"
    return f"{value:.0%}" if name in _SHARES else f"{value:,.5g}"


def _cloud_cover(plan: CubePlan) -> float:
    """Return the mean cloud cover that the scenes state, %; anything but a number counts as 100."""
    stated = [scene.properties.get("eo:cloud_cover") for scene in plan.group.scenes]
    covers = [c if isinstance(c, int | float) and 0 <= c <= 100 else 100.0 for c in stated]
    return math.fsum(covers) / len(covers)
