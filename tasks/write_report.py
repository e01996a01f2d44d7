"""Write the page of a run beside its other records."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from prefect import task

from catalog.cubes.finish import THUMBNAIL_NAME
from catalog.products import PlacedPlan, ProductReceipt, receipt_of
from catalog.report.collect import choose_rows, collect_facts
from catalog.report.facts import Picture, RunRecord
from catalog.report.page import render_page
from catalog.report.pictures import MAX_BYTES, MAX_PICTURES, shrink_thumbnail, spread
from catalog.report.subjects import describe_subject
from infra.errors import DataError, NotFoundError
from infra.storage import Storage, open_storage
from tasks.policies import NETWORK

logger = logging.getLogger(__name__)

REPORT_NAME = "report.html"
DASK_REPORT_NAME = "dask-report.html"


@task(**NETWORK)
def write_report(store_uri: str, record: RunRecord, plans: Sequence[PlacedPlan], *, folder: str) -> str:
    """Draw a run's page and keep it in the store.

    Args:
        store_uri: Root of the store.
        record: What the run did, one deed for each plan.
        plans: The whole plan.
        folder: Where the run's records lie, relative to the store's root.

    Returns:
        Where the page is: an absolute path or ``s3://`` URI.

    Raises:
        ConfigError: the store is full or may not be written.
        TransientError: the store did not answer.
    """
    storage = open_storage(store_uri)
    receipts = _read_receipts(storage, choose_rows(plans, record))
    standing = {deed.id for deed in record.deeds if deed.state in {"written", "reused"}}
    drawable = [plan for plan in plans if plan.id in standing]
    facts = collect_facts(
        record,
        plans,
        receipts,
        _load_pictures(storage, spread(drawable, MAX_PICTURES)),
        dask_report=storage.exists(f"{folder}/{DASK_REPORT_NAME}"),
    )
    path = f"{folder}/{REPORT_NAME}"
    storage.write(path, render_page(facts).encode())
    return storage.href(path)


def _read_receipts(storage: Storage, plans: Sequence[PlacedPlan]) -> dict[str, ProductReceipt]:
    found = ((plan.id, receipt_of(storage, plan)) for plan in plans)
    return {name: receipt for name, receipt in found if receipt is not None}


def _load_pictures(storage: Storage, plans: Sequence[PlacedPlan]) -> list[Picture]:
    """Load small pictures until the page has no room for more; a missing one is left out, and said."""
    pictures: list[Picture] = []
    room = MAX_BYTES
    for plan in plans:
        picture = _load_picture(storage, plan)
        if picture is not None and len(picture.data_uri) <= room:
            pictures.append(picture)
            room -= len(picture.data_uri)
    return pictures


def _load_picture(storage: Storage, plan: PlacedPlan) -> Picture | None:
    path = f"{plan.path}/{THUMBNAIL_NAME}"
    try:
        data_uri, size_xy = shrink_thumbnail(storage.read(path))
    except (NotFoundError, DataError) as exc:
        logger.warning("the report goes without the picture of %s: %s", plan.id, exc.message)
        return None
    subject = describe_subject(plan)
    return Picture(
        cube=plan.id,
        heading=subject.title + ("" if subject.day is None else f", {subject.day.isoformat()}"),
        title=subject.picture_title,
        data_uri=data_uri,
        size_xy=size_xy,
    )
