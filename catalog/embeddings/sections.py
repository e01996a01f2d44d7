"""Keep what work units leave for the end: a survey of the scene, each section's receipt and sums."""

from __future__ import annotations

import hashlib
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
from infra.errors import NotFoundError, TransientError
from infra.storage import Storage

WORK_FOLDER = "sections"
"""Below the product's folder; removed when the product stands."""


@dataclass(frozen=True, kw_only=True)
class VectorSurvey:
    """Hold what was learned from some windows before all are encoded. It begins the work on a product."""

    work: str
    """Chance name of the work that it begins: what other work has left is never taken for its own."""
    device: str
    """What the work is computed on, ``cpu`` or ``cuda``."""
    scenes: dict[str, str]
    """Id of each scene → SHA-256 of its receipt: of which pixels this was learned."""
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
    work: str
    """Of the survey that it was made by."""
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


def digest_scenes(storage: Storage, plan: EmbeddingPlan) -> dict[str, str]:
    """Return the SHA-256 of the receipt of each scene of a plan; another one tells of other pixels."""
    found: dict[str, str] = {}
    for each in plan.inputs:
        path = f"{each.scene.path}/{RECEIPT_NAME}"
        # A scene that is gone is told of where its pixels are read.
        data = storage.read(path) if storage.exists(path) else b""
        found[each.scene.id] = hashlib.sha256(data).hexdigest()
    return found


def forget_work(storage: Storage, plan: EmbeddingPlan) -> None:
    """Take back the survey and all sections, so that the work begins anew; shards are written over later."""
    storage.delete_folder(f"{plan.path}/{WORK_FOLDER}")


def check_work(storage: Storage, plan: EmbeddingPlan, survey: VectorSurvey) -> None:
    """See that work still counts; to be asked right before anything of it is written.

    Raises:
        TransientError: the product stands by now, or its work was given up or begun anew.
    """
    if storage.exists(f"{plan.path}/{RECEIPT_NAME}"):
        raise TransientError(f"another run has sealed {plan.id} meanwhile; nothing more is written into it")
    standing = read_survey(storage, plan)
    if standing is None or standing.work != survey.work:
        raise TransientError(f"another run gave up the work on {plan.id} or began it anew; run again")


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


def read_section(
    storage: Storage, plan: EmbeddingPlan, section: Section, survey: VectorSurvey
) -> SectionReceipt | None:
    """Return a section's receipt; None while it is not done, is of other work, or was spoilt by a crash."""
    try:
        receipt = _SECTION.validate_json(storage.read(_path(plan, section, "json")))
    except (NotFoundError, ValidationError):
        return None
    return receipt if receipt.work == survey.work else None


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
        TransientError: they are gone; or spoilt, though its receipt stands, which is taken back.
    """
    try:
        with np.load(io.BytesIO(storage.read(_path(plan, section, "npz"))), allow_pickle=False) as held:
            return SectionSums(held["vectors"], held["shares"], held["picture"])
    except NotFoundError as exc:
        raise TransientError(f"what {section.name} of {plan.id} summed up is gone; run again") from exc
    except (ValueError, LookupError, EOFError, BadZipFile) as exc:
        forget_section(storage, plan, section)
        raise TransientError(f"{section.name} of {plan.id} is spoilt; run again, it is made anew") from exc


def forget_section(storage: Storage, plan: EmbeddingPlan, section: Section) -> None:
    """Take back a section's receipt, so that it is made anew."""
    storage.delete(_path(plan, section, "json"))


def _path(plan: EmbeddingPlan, section: Section, kind: str) -> str:
    return f"{plan.path}/{WORK_FOLDER}/{section.name}.{kind}"
