"""Begin and end embeddings: metadata first; table, pictures, a check of every object and the receipt last."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio

from catalog.cubes.pyramid import Moments, merge_moments
from catalog.embeddings.layout import VARIABLE, lay_out_embeddings
from catalog.embeddings.pictures import paint_components, picture_grid
from catalog.embeddings.plan import (
    EMBEDDING_RECEIPT,
    EmbeddingPlan,
    EmbeddingReceipt,
    list_sections,
    plan_digest,
)
from catalog.embeddings.quantising import choose_scale, merge_errors
from catalog.embeddings.sections import (
    SectionReceipt,
    SectionSums,
    VectorSurvey,
    check_work,
    forget_section,
    forget_work,
    is_work_file,
    read_section,
    read_sums,
    read_survey,
)
from catalog.embeddings.vectors import encode_tile_vectors
from catalog.pictures.cogs import write_preview_cog
from catalog.pictures.previews import encode_thumbnail
from catalog.receipts import describe_bytes, read_receipt, seal, translate_scratch_error
from catalog.records import BandStatistics, StoredFile
from infra.errors import TransientError
from infra.provenance import package_versions, project_version
from infra.storage import Storage

VECTORS_NAME = "vectors.parquet"
PREVIEW_NAME = "preview.tif"
THUMBNAIL_NAME = "thumbnail.png"
_WRITERS = ("numcodecs", "numpy", "pillow", "pyarrow", "rasterio", "torch", "zarr")


def embedding_receipt(storage: Storage, plan: EmbeddingPlan) -> EmbeddingReceipt | None:
    """Return the receipt of embeddings; None while they do not stand.

    Raises:
        DataError: what is stored there is no receipt.
    """
    return read_receipt(storage, plan.path, EMBEDDING_RECEIPT)


def begin_embeddings(storage: Storage, plan: EmbeddingPlan, survey: VectorSurvey) -> None:
    """Write what sections need to be there: metadata and coordinates. Safe to repeat.

    Raises:
        TransientError: the work does not count any more; see ``catalog.embeddings.sections.check_work``.
    """
    check_work(storage, plan, survey)
    for name, data in lay_out_embeddings(plan, _scale(plan, survey)).items():
        storage.write(f"{plan.path}/{name}", data)


def finish_embeddings(storage: Storage, plan: EmbeddingPlan) -> EmbeddingReceipt:
    """Seal embeddings whose sections are all written. Safe to repeat.

    Raises:
        InternalError: another run wrote different bytes.
        TransientError: a section is missing, an object is missing or cut short in the store, or the work does
            not count any more.
        ConfigError: the store or the scratch folder is full.
    """
    standing = embedding_receipt(storage, plan)
    if standing is not None:
        forget_work(storage, plan)
        return standing
    survey, sections = _read_sections(storage, plan)
    sums = [read_sums(storage, plan, each.section) for each in sections]
    table, tiles = encode_tile_vectors(
        plan, *(np.concatenate(parts) for parts in ([s.vectors for s in sums], [s.shares for s in sums]))
    )
    pictures, picture_statistics = _draw(plan, sums, survey)
    written = {VECTORS_NAME: table, **pictures}
    check_work(storage, plan, survey)
    for name, data in written.items():
        storage.write(f"{plan.path}/{name}", data)
    layout = lay_out_embeddings(plan, _scale(plan, survey))
    files = [file for each in sections for file in each.files]
    files += [describe_bytes(name, data) for name, data in (written | layout).items()]
    files.sort(key=lambda file: file.path)
    storage.sweep_leftovers(plan.path)
    _check_objects(storage, plan, sections, files)
    receipt = EmbeddingReceipt(
        id=plan.id,
        plan_digest=plan_digest(plan),
        files=tuple(files),
        statistics=_summarise(plan, sections, sums) | picture_statistics,
        error=merge_errors(each.error for each in sections),
        scale=_scale(plan, survey),
        standards=survey.standards,
        decibel=survey.decibel,
        device=survey.device,
        tiles=tiles,
        software={"terraloom": project_version(), "gdal": rasterio.__gdal_version__}
        | package_versions(_WRITERS),
    )
    check_work(storage, plan, survey)
    sealed = seal(storage, plan.path, receipt, EMBEDDING_RECEIPT)
    forget_work(storage, plan)
    return sealed


def _scale(plan: EmbeddingPlan, survey: VectorSurvey) -> float:
    return choose_scale(plan.settings.dtype, survey.reach)


def _read_sections(storage: Storage, plan: EmbeddingPlan) -> tuple[VectorSurvey, list[SectionReceipt]]:
    survey, found = read_survey(storage, plan), []
    if survey is None:
        raise TransientError(f"embeddings {plan.id} were to be finished, but have no survey; run again")
    for section in list_sections(plan):
        receipt = read_section(storage, plan, section, survey)
        if receipt is None:
            raise TransientError(
                f"embeddings {plan.id} were to be finished, but {section.name} is missing; run again"
            )
        found.append(receipt)
    return survey, found


def _draw(
    plan: EmbeddingPlan, sums: Sequence[SectionSums], survey: VectorSurvey
) -> tuple[dict[str, bytes], dict[str, BandStatistics]]:
    """Draw the vectors once, as COG and as thumbnail."""
    rgba = paint_components(np.concatenate([each.picture for each in sums], axis=1), survey)
    with tempfile.TemporaryDirectory(prefix="terraloom-") as folder:
        cog = Path(folder) / PREVIEW_NAME
        try:
            statistics = write_preview_cog(rgba, picture_grid(plan.grid), cog)
            preview = cog.read_bytes()
        except OSError as exc:
            raise translate_scratch_error(exc, plan.id) from exc
    known = {name: summary for name, summary in statistics.items() if math.isfinite(summary.mean)}
    return {PREVIEW_NAME: preview, THUMBNAIL_NAME: encode_thumbnail(rgba)}, known


def _check_objects(
    storage: Storage, plan: EmbeddingPlan, sections: Sequence[SectionReceipt], files: Sequence[StoredFile]
) -> None:
    """Compare what the store holds with what was written; remove what no section claims."""
    prefix = f"{plan.path}/"
    found = {entry.path.removeprefix(prefix): entry.size for entry in storage.list_objects(plan.path)}
    for each in sections:
        if any(found.get(file.path) != file.size for file in each.files):
            forget_section(storage, plan, each.section)
    for file in files:
        if found.get(file.path) != file.size:
            raise TransientError(
                f"{storage.href(prefix + file.path)} holds {found.get(file.path)} bytes, "
                f"{file.size} were written; run again"
            )
    for name in found.keys() - {file.path for file in files}:
        if not is_work_file(name):
            storage.delete(f"{prefix}{name}")


def _summarise(
    plan: EmbeddingPlan, sections: Sequence[SectionReceipt], sums: Sequence[SectionSums]
) -> dict[str, BandStatistics]:
    moments: Moments | None = merge_moments(each.moments for each in sections)
    if moments is None:
        return {}
    rows, cols = plan.grid.shape_yx
    tile_means = np.concatenate([each.vectors[each.shares > 0] for each in sums])
    low, high = np.percentile(tile_means, (2, 98))
    return {
        VARIABLE: BandStatistics(
            minimum=moments.minimum,
            maximum=moments.maximum,
            mean=moments.mean,
            stddev=moments.stddev,
            valid_percent=100 * moments.count / (rows * cols * plan.settings.width),
            percentile_2=float(low),
            percentile_98=float(high),
        )
    }
