"""Keep what work units leave for the end: a survey of the scene, each section's receipt and sums."""

from __future__ import annotations

import io
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from catalog.cubes.pyramid import Moments
from catalog.embeddings.plan import EmbeddingPlan, Section
from catalog.embeddings.quantising import ErrorSums
from catalog.receipts import RECEIPT_NAME
from catalog.records import StoredFile
from infra.digests import canonical_json
from infra.errors import InternalError, NotFoundError
from infra.storage import Storage

WORK_FOLDER = "sections"
"""Below the product's folder; removed when the product stands."""


@dataclass(frozen=True, kw_only=True)
class VectorSurvey:
    """Hold what was learned from some windows before all are encoded."""

    standards: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    """Modality → mean and deviation of its bands."""
    decibel: bool | None
    """Whether radar is stored in decibels; None without radar."""
    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    """Three directions in which vectors differ most."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """What is drawn black and white along each."""
    reach: float
    """Beyond which no component is expected, either way."""


@dataclass(frozen=True, kw_only=True)
class SectionReceipt:
    """Prove that one section is written."""

    section: Section
    files: tuple[StoredFile, ...]
    moments: Moments | None
    """Of all components of its vectors; None where it has none."""
    error: ErrorSums


@dataclass(frozen=True, eq=False)
class SectionSums:
    """What a section adds to table and picture.

    Attributes:
        vectors: float32 (tile rows, tile columns, width): means; 0 where a tile has no vector.
        shares: float32 (tile rows, tile columns): share of a tile's cells that have a vector.
        picture: float32 (3, rows, columns): principal components of blocks of cells, NaN without data.
    """

    vectors: NDArray[np.float32]
    shares: NDArray[np.float32]
    picture: NDArray[np.float32]


_SURVEY = TypeAdapter(VectorSurvey)
_SECTION = TypeAdapter(SectionReceipt)


def is_work_file(path: str) -> bool:
    """Say whether an object, path relative to the product, is none of its files but of the work on it."""
    return path == RECEIPT_NAME or path.startswith(f"{WORK_FOLDER}/")


def read_survey(storage: Storage, plan: EmbeddingPlan) -> VectorSurvey | None:
    """Return the survey of a scene; None while there is none."""
    try:
        return _SURVEY.validate_json(storage.read(f"{plan.path}/{WORK_FOLDER}/survey.json"))
    except (NotFoundError, ValidationError):
        return None


def write_survey(storage: Storage, plan: EmbeddingPlan, survey: VectorSurvey) -> VectorSurvey:
    """Keep a survey, unless there is one; returns the one that counts."""
    path = f"{plan.path}/{WORK_FOLDER}/survey.json"
    data = canonical_json(_SURVEY.dump_python(survey, mode="json"))
    if not storage.write_if_absent(path, data):
        standing = read_survey(storage, plan)
        if standing is not None:
            return standing
        storage.write(path, data)  # what is there is spoilt
    return survey


def read_section(storage: Storage, plan: EmbeddingPlan, section: Section) -> SectionReceipt | None:
    """Return a section's receipt; None while it is not done, or where a crash spoilt the receipt."""
    try:
        return _SECTION.validate_json(storage.read(_path(plan, section, "json")))
    except (NotFoundError, ValidationError):
        return None


def write_section(storage: Storage, plan: EmbeddingPlan, receipt: SectionReceipt, sums: SectionSums) -> None:
    """Keep a section's sums, then its receipt."""
    buffer = io.BytesIO()
    np.savez(buffer, vectors=sums.vectors, shares=sums.shares, picture=sums.picture)
    storage.write(_path(plan, receipt.section, "npz"), buffer.getvalue())
    text = canonical_json(_SECTION.dump_python(receipt, mode="json"))
    storage.write(_path(plan, receipt.section, "json"), text)


def read_sums(storage: Storage, plan: EmbeddingPlan, section: Section) -> SectionSums:
    """Return a section's sums.

    Raises:
        InternalError: they are spoilt, though its receipt stands.
        NotFoundError: they are not there.
    """
    try:
        with np.load(io.BytesIO(storage.read(_path(plan, section, "npz"))), allow_pickle=False) as held:
            return SectionSums(held["vectors"], held["shares"], held["picture"])
    except (ValueError, LookupError, EOFError, BadZipFile) as exc:
        if isinstance(exc, NotFoundError):
            raise
        forget_section(storage, plan, section)
        raise InternalError(f"{section.name} of {plan.id} is spoilt; run again, it is made anew") from exc


def forget_section(storage: Storage, plan: EmbeddingPlan, section: Section) -> None:
    """Take back a section's receipt, so that it is made anew."""
    storage.delete(_path(plan, section, "json"))


def _path(plan: EmbeddingPlan, section: Section, kind: str) -> str:
    return f"{plan.path}/{WORK_FOLDER}/{section.name}.{kind}"
