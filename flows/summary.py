"""Define what a run says about itself at its end."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Quarantine(BaseModel):
    """Name one cube that could not be made, and why."""

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str


class RunSummary(BaseModel):
    """Count what a run planned and did; the one object that ``--json`` prints."""

    model_config = ConfigDict(frozen=True)

    run: str
    """Name of the run; its records lie in ``runs/<name>/`` of the store."""
    store: str
    catalogue: str
    planned: int
    """Cubes the plan holds."""
    written: int
    """Cubes made by this run."""
    reused: int
    """Cubes that stood already; no pixel of theirs was read."""
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

    @property
    def quarantined_share(self) -> float:
        """Quarantined cubes among the planned ones, 0 to 1."""
        return self.quarantined / self.planned if self.planned else 0.0
