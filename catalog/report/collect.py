"""Put together what a page says from a run's record, its plans and their receipts: pure, no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pyproj import Transformer

from catalog.footprints import find_footprint
from catalog.products import PlacedPlan, ProductReceipt, digest_of
from catalog.records import Grid
from catalog.report.facts import CubeFacts, Deed, MapFacts, Picture, RunFacts, RunRecord
from catalog.report.pictures import spread
from catalog.report.subjects import Subject, describe_subject, describe_tables, valid_percent
from infra.digests import sha256_of_json

MAX_ROWS = 400
"""Rows of the table; with every part at its limit a page stays below 3 MB."""
_MAX_FOOTPRINTS = 200
_MAX_ITEMS = 4  # source items named for each cube
_MAX_REASON = 1000  # characters; a reason may quote anything
_MAX_PICTURE_SPAN_DEG = 3.0  # a larger grid bends too much for a picture laid flat on the map
_UP = "../.."  # from runs/<run>/ to the store's root


def choose_rows(plans: Sequence[PlacedPlan], record: RunRecord) -> list[PlacedPlan]:
    """Choose the plans that get a row: all, or those that went wrong and as many others as there is room."""
    if len(plans) <= MAX_ROWS:
        return list(plans)
    wrong = {deed.id for deed in record.deeds if deed.state in {"quarantined", "planned"}}
    first = [plan for plan in plans if plan.id in wrong][:MAX_ROWS]
    others = [plan for plan in plans if plan.id not in wrong]
    kept = {plan.id for plan in [*first, *others[: MAX_ROWS - len(first)]]}
    return [plan for plan in plans if plan.id in kept]


def collect_facts(
    record: RunRecord,
    plans: Sequence[PlacedPlan],
    receipts: Mapping[str, ProductReceipt],
    pictures: Sequence[Picture],
    *,
    dask_report: bool,
) -> RunFacts:
    """Put a page's facts together.

    Args:
        record: What the flow saw; one deed for each plan.
        plans: The whole plan.
        receipts: Cube id → receipt, of the cubes that get a row and stand.
        pictures: Those to show.
        dask_report: Whether Dask's report lies beside the page.
    """
    deeds = {deed.id: deed for deed in record.deeds}
    return RunFacts(
        record=record,
        cubes=tuple(
            _describe_row(describe_subject(plan), plan, receipts.get(plan.id), deeds[plan.id], record)
            for plan in choose_rows(plans, record)
        ),
        map=_describe_map(plans, record, _choose_backdrop(pictures, plans, receipts), deeds),
        pictures=tuple(pictures),
        drawable=sum(deed.state in {"written", "reused"} for deed in record.deeds),
        software=_merge_software(receipts.values()),
        tables=tuple(table for plan in plans for table in describe_tables(plan, receipts.get(plan.id))),
        digest=sha256_of_json(sorted(digest_of(plan) for plan in plans)),
        dask_report=dask_report,
    )


def _describe_row(
    subject: Subject, plan: PlacedPlan, receipt: ProductReceipt | None, deed: Deed, record: RunRecord
) -> CubeFacts:
    is_api = record.catalogue.startswith(("http://", "https://"))
    base = record.catalogue.rstrip("/")
    item = f"{base}/collections/{subject.collection}/items/{subject.id}"
    return CubeFacts(
        deed=replace(deed, reason=_shorten(deed.reason)),
        title=subject.title,
        day=subject.day,
        source_items=subject.inputs[:_MAX_ITEMS],
        more_items=max(0, len(subject.inputs) - _MAX_ITEMS),
        tiles=subject.units,
        size=None if receipt is None else receipt.total_bytes,
        valid_percent=valid_percent(plan, receipt),
        plan_digest=subject.digest,
        item_href=item if is_api and deed.catalogued else None,
        folder_href=f"{_UP}/{subject.path}",
    )


def _shorten(reason: str | None) -> str | None:
    if reason is None or len(reason) <= _MAX_REASON:
        return reason
    return reason[:_MAX_REASON] + " …"


def _describe_map(
    plans: Sequence[PlacedPlan],
    record: RunRecord,
    backdrop: Picture | None,
    deeds: Mapping[str, Deed],
) -> MapFacts:
    shown = spread(plans, _MAX_FOOTPRINTS)
    grids = list(dict.fromkeys(plan.grid for plan in plans))
    corners: tuple[tuple[float, float], ...] = ()
    if backdrop is not None:
        corners = find_corners(next(plan.grid for plan in plans if plan.id == backdrop.cube))
    return MapFacts(
        request=record.request.bbox,
        # Without scenes the footprint is the grid's own outline.
        grids=tuple(find_footprint((), grid).geometry for grid in grids),
        footprints=tuple((plan.id, deeds[plan.id].state, describe_subject(plan).footprint) for plan in shown),
        left_out=len(plans) - len(shown),
        picture=backdrop if corners else None,
        picture_corners=corners,
    )


def find_corners(grid: Grid) -> tuple[tuple[float, float], ...]:
    """Return a grid's upper left, upper right and lower left corner, lon/lat degrees, longitudes continuous.

    Returns:
        Nothing where the grid is so large, or so near a pole, that a picture laid flat would lie.
    """
    rows, cols = grid.shape_yx
    a, b, c, d, e, f = grid.transform
    xs = np.array([c, c + a * cols, c + b * rows, c + a * cols + b * rows])
    ys = np.array([f, f + d * cols, f + e * rows, f + d * cols + e * rows])
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(xs, ys)
    lon = np.where(lon - lon[0] > 180, lon - 360, np.where(lon - lon[0] < -180, lon + 360, lon))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and (np.abs(lat) < 75).all()):
        return ()
    if max(np.ptp(lon), np.ptp(lat)) > _MAX_PICTURE_SPAN_DEG:
        return ()
    return tuple((float(x), float(y)) for x, y in zip(lon[:3], lat[:3], strict=True))


def _choose_backdrop(
    pictures: Sequence[Picture], plans: Sequence[PlacedPlan], receipts: Mapping[str, ProductReceipt]
) -> Picture | None:
    """Take the fullest and least cloudy picture, in true colour if there is one: it shows the place."""
    by_id = {plan.id: plan for plan in plans}
    clearness = {picture.cube: describe_subject(by_id[picture.cube]).clearness for picture in pictures}

    def rank(picture: Picture) -> tuple[bool, int, float]:
        plan = by_id[picture.cube]
        share = valid_percent(plan, receipts.get(plan.id)) or 0.0
        return picture.title.startswith("True colour"), round(share), clearness[picture.cube] or 0.0

    return max((each for each in pictures if clearness[each.cube] is not None), key=rank, default=None)


def _merge_software(receipts: Iterable[ProductReceipt]) -> tuple[tuple[str, str], ...]:
    found: dict[str, set[str]] = defaultdict(set)
    for receipt in receipts:
        for name, version in receipt.software.items():
            found[name].add(version)
    return tuple((name, ", ".join(sorted(versions))) for name, versions in sorted(found.items()))
