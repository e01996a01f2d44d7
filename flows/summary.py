"""Define what a run says about itself at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from catalog.osm.plan import OsmReceipt
from catalog.registrations.plan import RegistrationPlan, RegistrationReceipt


class Quarantine(BaseModel):
    """Name one product that could not be made, and why."""

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str


class FeatureCounts(BaseModel):
    """Count what became of the map elements of an area: found = kept + quarantined."""

    model_config = ConfigDict(frozen=True)

    found: int
    """Elements that ought to be features."""
    kept: int
    """Rows of the table."""
    quarantined: int
    repaired: int
    """Kept ones whose geometry was mended."""
    reasons: dict[str, int] = Field(default_factory=dict)
    """Why elements are in quarantine → how many."""

    @classmethod
    def of(cls, receipt: OsmReceipt) -> Self:
        """Count from a receipt."""
        return cls(
            found=receipt.found,
            kept=receipt.features,
            quarantined=receipt.found - receipt.features,
            repaired=receipt.repaired,
            reasons=receipt.quarantined,
        )


class Registered(BaseModel):
    """Say what became of one pair of products."""

    model_config = ConfigDict(frozen=True)

    id: str
    fixed: str
    moving: str
    registered: bool
    reason: str | None
    """Why not, a code of ``models.registration.reasons``."""
    explanation: str
    """The verdict in a sentence."""
    model: str | None
    applied: str
    figures: dict[str, float | None]

    @classmethod
    def of(cls, plan: RegistrationPlan, receipt: RegistrationReceipt) -> Self:
        """Say what a receipt says."""
        return cls(
            id=plan.id,
            fixed=plan.fixed.id,
            moving=plan.moving.id,
            registered=receipt.registered,
            reason=receipt.reason,
            explanation=receipt.explanation,
            model=receipt.model,
            applied=receipt.applied,
            figures=receipt.figures,
        )


class RunSummary(BaseModel):
    """Count what a run planned and did; the one object that ``--json`` prints."""

    model_config = ConfigDict(frozen=True)

    run: str
    """Name of the run; its records lie in ``runs/<name>/`` of the store."""
    store: str
    catalogue: str
    planned: int
    """Products the plan holds."""
    written: int
    """Products made by this run."""
    reused: int
    """Products that stood already; nothing of theirs was read."""
    catalogued: int
    """Items of this plan in the catalogue at the end."""
    quarantined: int
    quarantine: tuple[Quarantine, ...] = ()
    tiles_read: int = 0
    """Shard-sized work units whose pixels were read."""
    bytes_written: int = 0
    seconds: float
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall clock of each stage, in the order they ran."""
    report: str | None = None
    """The run's page, path or ``s3://`` URI; None when it could not be written."""
    item_ids: tuple[str, ...]
    """Ids of the published items, sorted."""
    product: str = "cube"
    """What one product of the run is called."""
    features: FeatureCounts | None = None
    """What became of the map elements; None where no map was ingested."""
    registrations: tuple[Registered, ...] = ()
    """What became of the pairs that were to be registered."""
    unpaired: str | None = None
    """Why no radar cube was to be registered to an optical one; None where one was, or it was not asked."""
    parts: tuple[RunSummary, ...] = ()
    """Summaries of the runs that this one is made of, in order; empty for a single run."""

    @property
    def quarantined_share(self) -> float:
        """Quarantined products among the planned ones, 0 to 1."""
        return self.quarantined / self.planned if self.planned else 0.0


def join_summaries(parts: Sequence[RunSummary]) -> RunSummary:
    """Sum up the runs of one request; the one that made cubes gives run, report and places, else the last.

    Args:
        parts: Summaries in the order the runs were made, one at least.
    """
    main = next((part for part in parts if part.product == "cube"), parts[-1])
    if len(parts) == 1:
        return main
    counts = ("planned", "written", "reused", "catalogued", "quarantined", "tiles_read", "bytes_written")
    stages: dict[str, float] = {}
    for part in parts:
        for stage, seconds in part.stage_seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return main.model_copy(
        update={
            **{name: sum(getattr(part, name) for part in parts) for name in counts},
            "quarantine": tuple(entry for part in parts for entry in part.quarantine),
            "seconds": sum(part.seconds for part in parts),
            "stage_seconds": stages,
            "item_ids": tuple(sorted(item for part in parts for item in part.item_ids)),
            "product": "product",
            "features": next((part.features for part in parts if part.features), None),
            "registrations": tuple(entry for part in parts for entry in part.registrations),
            "parts": tuple(parts),
        }
    )
