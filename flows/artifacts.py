"""Show a run's plan, progress and results in the Prefect UI."""

from __future__ import annotations

import html
import logging
from collections.abc import Collection, Sequence
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.futures import PrefectFuture, as_completed

from catalog.products import ProductOutcome, ProductPlan, collection_of
from catalog.records import CubePlan
from catalog.report.facts import RunRecord, hide_secrets
from flows.plan_table import plan_rows
from infra.errors import AppError, InternalError
from infra.logging import log_progress

logger = logging.getLogger(__name__)


def announce_plan(plans: Sequence[CubePlan], *, reused: Collection[str]) -> None:
    """Keep the plan as a table artifact, and log its size."""
    logger.info("plan: %d cubes, %d of them stand already", len(plans), len(reused))
    for plan in plans:
        log_progress("planned" if plan.id not in reused else "reused", plan.id)
    create_table_artifact(plan_rows(plans, reused=reused), key="plan", description="What this run plans")


def follow_cubes(
    futures: list[PrefectFuture[ProductOutcome]],
) -> tuple[list[ProductOutcome], AppError | None]:
    """Wait for the cubes, keeping a progress artifact up to date.

    Returns:
        Outcomes of the cubes that ended well or in quarantine, and the first failure if there was one.
    """
    outcomes: list[ProductOutcome] = []
    failures: list[AppError] = []
    artifact: Any = create_progress_artifact(0.0, key="cubes", description=f"{len(futures)} cubes to write")
    for done, future in enumerate(as_completed(futures), start=1):
        result: object = future.result(raise_on_failure=False)
        if isinstance(result, ProductOutcome):
            outcomes.append(result)
            log_progress("quarantined" if result.quarantined else "cube", result.id)
            if result.quarantined:
                logger.warning("cube %s is quarantined: %s", result.id, hide_secrets(result.quarantined))
        else:
            failures.append(_as_failure(result))
        update_progress_artifact(artifact, 100.0 * done / len(futures))
    return outcomes, failures[0] if failures else None


def announce_items(plans: Sequence[ProductPlan], *, catalogue: str) -> None:
    """Keep links to the published items as an artifact, when the catalogue is an API."""
    if catalogue.startswith(("http://", "https://")):
        base = catalogue.rstrip("/")
        lines = [f"* [{plan.id}]({base}/collections/{collection_of(plan)}/items/{plan.id})" for plan in plans]
    else:
        lines = [f"* `{plan.id}`" for plan in plans]
    create_markdown_artifact("\n".join(["# Items", "", *lines]), key="items", description="Published items")


def announce_report(href: str, record: RunRecord) -> None:
    """Keep the verdict and where the report is as an artifact; a browser opens no store's path from here."""
    logger.info("report: %s", href)
    # A failure may quote what a foreign file or catalogue says; the UI draws Markdown.
    verdict = html.escape(" ".join(record.verdict.split()))
    text = f"# {verdict}\n\nReport: `{href}`\n"
    create_markdown_artifact(text, key="report", description="How the run went")


def _as_failure(result: object) -> AppError:
    if isinstance(result, AppError):
        return result
    return InternalError(f"a cube failed unexpectedly: {type(result).__name__}: {result}")
