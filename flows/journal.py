"""Collect what a run does while it does it: its summary and its report are drawn from that."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from catalog.products import ProductOutcome, ProductPlan
from catalog.report.facts import Deed, State, hide_secrets

Plan = TypeVar("Plan", bound=ProductPlan)


class Journal(Generic[Plan]):
    """Hold a run's clock and outcomes, for plans of one kind; it only grows."""

    def __init__(self) -> None:
        self.started = dt.datetime.now(dt.UTC)
        self.stage_seconds: dict[str, float] = {}
        self.plans: list[Plan] = []
        self.reused: set[str] = set()
        """Ids of products that stood before the run."""
        self.outcomes: list[ProductOutcome] = []
        self.catalogued: set[str] = set()
        """Ids of items that the catalogue took or was seen to hold."""
        self._start_s = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall clock since the run began."""
        return time.perf_counter() - self._start_s

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's wall clock towards a stage, also when it fails."""
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds[name] = self.stage_seconds.get(name, 0.0) + time.perf_counter() - start_s

    @property
    def made(self) -> list[ProductOutcome]:
        """Outcomes of the products that this run wrote."""
        return [outcome for outcome in self.outcomes if not outcome.quarantined]

    @property
    def quarantined(self) -> list[ProductOutcome]:
        """Outcomes of the products that could not be made."""
        return [outcome for outcome in self.outcomes if outcome.quarantined]

    @property
    def bytes_written(self) -> int:
        """Size of the products that this run wrote."""
        return sum(outcome.bytes_written for outcome in self.made)

    def deeds(self) -> tuple[Deed, ...]:
        """Say what became of each planned cube, in the plan's order."""
        found = {outcome.id: outcome for outcome in self.outcomes}
        return tuple(self._deed(plan.id, found.get(plan.id)) for plan in self.plans)

    def unfinished(self) -> list[Plan]:
        """List the plans whose products neither stood before nor came to an end."""
        done = self.reused | {outcome.id for outcome in self.outcomes}
        return [plan for plan in self.plans if plan.id not in done]

    def _deed(self, product: str, outcome: ProductOutcome | None) -> Deed:
        if outcome is None:
            # What stands without our doing was made before us, or beside us by another run.
            state: State = "reused" if product in self.reused | self.catalogued else "planned"
            return Deed(id=product, state=state, catalogued=product in self.catalogued)
        if outcome.quarantined:
            return Deed(id=product, state="quarantined", reason=hide_secrets(outcome.quarantined))
        return Deed(
            id=product,
            state="written",
            catalogued=product in self.catalogued,
            tiles_read=outcome.tiles_read,
            seconds=outcome.seconds,
        )
