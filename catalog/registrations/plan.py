"""Plan the registration of one product to another: its identity, its grid, its receipt."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from catalog.product_ids import spell_id, spell_stem
from catalog.records import Band, BandStatistics, Grid, StoredFile
from catalog.registrations.grids import plan_working_grid
from infra.digests import canonical_json, sha256_of_json
from infra.errors import InputError

ALGORITHM = "registration"
ALGORITHM_VERSION = "2"
"""Raised whenever the same inputs would give another transform or layout."""
PRODUCTS_FOLDER = "registrations"

SixNumbers = tuple[float, float, float, float, float, float]
NineNumbers = tuple[float, float, float, float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class SceneFacts:
    """Hold what is needed to read and name one product that is registered."""

    id: str
    collection: str
    """``scenes`` for a cube, ``osm`` for a drawn map."""
    digest: str
    """Of the product's plan: same digest, same pixels."""
    path: str
    """Folder of the product, relative to the store's root."""
    title: str
    grid: Grid
    bands: tuple[Band, ...]
    """Variables of a cube; none of a drawn map."""
    datetime: dt.datetime
    geometry: dict[str, Any]
    """GeoJSON footprint, lon/lat degrees."""
    radar: bool = False
    cloud_percent: float | None = None
    """Cloud cover as stated; None where it is not."""
    look_azimuth_deg: float | None = None
    """Where a radar looks, clockwise from north; None for anything else, or where it is not known."""


@dataclass(frozen=True, kw_only=True)
class RegistrationPlan:
    """Hold one registration to be: two products on one grid, with its identity."""

    id: str
    """Readable prefix + short hash of algorithm, version, inputs, grid, matcher and settings."""
    fixed: SceneFacts
    moving: SceneFacts
    grid: Grid
    """Both scenes are compared on it; in the CRS of the fixed one."""
    matcher: str
    """Name of what finds the first tie points."""
    model_digest: str | None = None
    """Of the matcher's weights; None for one without."""
    model_item: str | None = None
    """Id of the matcher's item in the collection ``models``; None for one without weights."""
    settings: dict[str, Any]
    """Every number that the result depends on besides."""

    @property
    def path(self) -> str:
        """Folder of the product, relative to the store's root."""
        return f"{PRODUCTS_FOLDER}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class RegistrationReceipt:
    """Prove that a registration is whole. Written last; the same for every run of a plan."""

    id: str
    plan_digest: str
    files: tuple[StoredFile, ...]
    """Every object of the product but the receipt itself, sorted by path."""
    registered: bool
    reason: str | None
    """Why not, a code; None where the scenes are registered."""
    explanation: str
    """The verdict in a sentence."""
    model: str | None
    """Kind of the transform; None where none was found."""
    applied: str
    """``geotransform``: the moving scene's pixels stand, on a corrected grid. ``warp``: they were resampled,
    once. ``none``: not registered."""
    correction: NineNumbers | None
    """Row by row: world (CRS of the grid) from world as the moving scene has it; None for a transform that
    bends, or none."""
    corrected_transform: SixNumbers | None
    """World from pixel corner of the moving scene's own pixels; None unless applied to its geotransform."""
    figures: dict[str, float | None]
    """What the verdict rests on, by name; None where not known."""
    left_out_px: dict[str, float]
    """Kind of transform → residual at tie points left out of its fit."""
    statistics: dict[str, BandStatistics]
    """Of the preview's channels, 8-bit values."""
    software: dict[str, str]
    """Package → version."""

    @property
    def total_bytes(self) -> int:
        """Size of all objects together."""
        return sum(file.size for file in self.files)


REGISTRATION_PLAN = TypeAdapter(RegistrationPlan)
REGISTRATION_RECEIPT = TypeAdapter(RegistrationReceipt)


def plan_registration(
    fixed: SceneFacts,
    moving: SceneFacts,
    *,
    matcher: str,
    settings: dict[str, Any],
    model_digest: str | None = None,
    model_item: str | None = None,
) -> RegistrationPlan:
    """Plan the registration of two products; the same request gives the same plan.

    Args:
        fixed: What stays.
        moving: What is to be moved.
        matcher: Name of the matcher.
        settings: Every other number that the result depends on; JSON.
        model_digest: Of the matcher's weights.
        model_item: Id of their item.

    Raises:
        InputError: both are the same product.
    """
    if (fixed.collection, fixed.id) == (moving.collection, moving.id):
        raise InputError(f"{fixed.id} cannot be registered to itself; give two products")
    plan = RegistrationPlan(
        id="",
        fixed=fixed,
        moving=moving,
        grid=plan_working_grid(fixed.grid, moving.grid),
        matcher=matcher,
        model_digest=model_digest,
        model_item=model_item,
        settings=settings,
    )
    return dataclasses.replace(plan, id=spell_id(_stem(moving), plan_digest(plan)))


def plan_digest(plan: RegistrationPlan) -> str:
    """Hash everything that decides a product's bytes; 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "algorithm": ALGORITHM,
            "version": ALGORITHM_VERSION,
            "inputs": [plan.fixed.digest, plan.moving.digest],
            # Stated by the items, not by the pixels: an item that is mended gives another transform.
            "look_azimuth_deg": [plan.fixed.look_azimuth_deg, plan.moving.look_azimuth_deg],
            "grid": dataclasses.asdict(plan.grid),
            "matcher": [plan.matcher, plan.model_digest],
            "settings": plan.settings,
        }
    )


def plan_to_json(plan: RegistrationPlan) -> bytes:
    """Serialise a plan, bytes stable between runs."""
    return canonical_json(REGISTRATION_PLAN.dump_python(plan, mode="json"))


def _stem(moving: SceneFacts) -> str:
    return f"registered-{spell_stem(moving.id.rpartition('-')[0]) or 'scene'}"
