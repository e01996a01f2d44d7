"""Encode one scene: look at some of it, encode its sections on Dask, then the seal.

A section is read, encoded and written by one worker, row of windows after row of windows. On a GPU each
section claims one, so that a worker with one thread has one section at work.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from prefect import task

from catalog.embeddings.finish import begin_embeddings, embedding_receipt, finish_embeddings
from catalog.embeddings.inputs import SAR, judge_radar
from catalog.embeddings.plan import EmbeddingPlan, EmbeddingSettings, Section, list_sections
from catalog.embeddings.reading import Planes, SceneReader, to_decibels
from catalog.embeddings.sections import (
    VectorSurvey,
    check_work,
    digest_scenes,
    forget_work,
    read_section,
    read_survey,
    write_section,
    write_survey,
)
from catalog.embeddings.writing import SectionWriter
from catalog.products import ProductOutcome
from infra.cluster import GPU, ClusterAddress, run_units, worker_number
from infra.errors import AppError, ConfigError, DataError, InternalError, NotFoundError, TransientError
from infra.logging import log_progress
from infra.storage import Storage, open_storage
from tasks.policies import PIXELS

if TYPE_CHECKING:
    from models.encoding.encoder import DenseEncoder
    from models.encoding.stream import Computation
    from models.encoding.strips import Rows, Standard, Strip
    from models.encoding.windows import WindowLayout

_SURVEY_WINDOWS = 32
_LEAST_ENCODED, _ENCODED_SHARE = 4, 0.02  # of all windows: those of a survey are encoded twice
_RADAR_SAMPLE = 200_000


@dataclass(frozen=True, kw_only=True)
class EncodingPlace:
    """Say where windows are encoded; no vector depends on it beyond the last digits."""

    device: str = "cpu"
    """``cpu``, or ``cuda`` for the worker's own GPU."""
    batch: int = 8
    """Windows at a time."""
    weights: str | None = None
    """File of the weights, readable by every worker; None for those that come with the encoder."""

    @property
    def resources(self) -> dict[str, float]:
        """What a unit of work claims of its worker."""
        return dict(GPU) if self.device != "cpu" else {}


@dataclass(frozen=True, kw_only=True)
class SectionOutcome:
    """Tell what a work unit did; small, it travels back from the worker."""

    windows: int
    """That were read; 0 where the section stood."""
    reused: bool


@task(task_run_name="encode-{plan.id}", **PIXELS)
def encode_scene(
    store_uri: str, plan: EmbeddingPlan, cluster: ClusterAddress, place: EncodingPlace
) -> ProductOutcome:
    """Make embeddings stand: a survey, every section, then the receipt.

    Args:
        store_uri: Root of the store that holds the scene.
        plan: What is made.
        cluster: Where it is computed.
        place: On what.

    Returns:
        What happened; damaged pixels, or none at all, quarantine the scene instead of failing the run.

    Raises:
        TransientError: worth another try; finished sections are kept.
        ConfigError: the store is full or may not be written, or no worker has a GPU.
    """
    started = time.perf_counter()
    storage, read = open_storage(store_uri), 0
    work: list[tuple[Any, Sequence[Any], dict[str, float]]] = [
        (survey_scene, [place], place.resources),
        (partial(encode_section, place=place), list_sections(plan), place.resources),
        (seal_scene, [None], {}),
    ]
    for function, units, resources in work:
        bound = partial(function, storage.uri, plan)
        for unit, outcome in run_units(cluster, bound, units, resources=resources):
            if isinstance(outcome, AppError):
                return settle_error(storage, plan, outcome)
            if isinstance(outcome, SectionOutcome):
                read += not outcome.reused
                log_progress("tile", f"{plan.id}/{unit.name}")
    receipt = embedding_receipt(storage, plan)
    return ProductOutcome(
        id=plan.id,
        tiles_read=read,
        bytes_written=receipt.total_bytes if receipt else 0,
        seconds=time.perf_counter() - started,
    )


def settle_error(storage: Storage, plan: EmbeddingPlan, error: AppError) -> ProductOutcome:
    """Return how a scene ends of which a unit failed: in quarantine, with what was made of it deleted.

    Where another run of the same request has sealed the product meanwhile, and taken the work files away
    that this one missed, the product stands.

    Raises:
        AppError: the error itself, where it is not the scene's fault.
    """
    receipt = embedding_receipt(storage, plan)
    if receipt is not None:
        return ProductOutcome(id=plan.id, bytes_written=receipt.total_bytes)
    if not isinstance(error, DataError | NotFoundError):
        raise error
    storage.delete_folder(plan.path)
    return ProductOutcome(id=plan.id, quarantined=error.message)


def describe_encoder(name: str, overlap_px: int | None, **chosen: Any) -> EmbeddingSettings:  # noqa: ANN401
    """Return the settings of an encoder: its own window, cell and width, and what was chosen beside.

    Args:
        name: Of the encoder.
        overlap_px: Between windows; None for a quarter of a window.
        **chosen: Other fields of ``EmbeddingSettings``.

    Raises:
        InputError: no such encoder, or numbers that do not go together.
    """
    from models.encoding.encoders import describe_windows
    from models.encoding.windows import WindowLayout

    width, stride, window = describe_windows(name)
    overlap = window // 4 // stride * stride if overlap_px is None else overlap_px
    WindowLayout(shape_yx=(1, 1), window_px=window, overlap_px=overlap, stride_px=stride)  # refuses nonsense
    return EmbeddingSettings(width=width, stride_px=stride, window_px=window, overlap_px=overlap, **chosen)


def survey_scene(store_uri: str, plan: EmbeddingPlan, place: EncodingPlace) -> None:
    """Look at some windows of a scene, and write what its sections need. Runs on a worker; safe to repeat.

    Work that was begun on another kind of device, or when the scene had other pixels, begins anew.

    Raises:
        DataError: the scene holds no data, or is damaged.
        TransientError: another run sealed the product meanwhile, or began it anew.
    """
    storage = open_storage(store_uri)
    if embedding_receipt(storage, plan) is not None:
        return
    survey = read_survey(storage, plan)
    if survey is not None and (survey.device, survey.scenes) != (place.device, digest_scenes(storage, plan)):
        forget_work(storage, plan)
        survey = None
    if survey is None:
        survey = write_survey(storage, plan, _survey(storage, plan, place))
    begin_embeddings(storage, plan, survey)


def encode_section(
    store_uri: str, plan: EmbeddingPlan, section: Section, *, place: EncodingPlace
) -> SectionOutcome:
    """Encode one section, unless its receipt is there. Runs on a worker; safe to repeat.

    Raises:
        DataError: pixels are damaged.
        ConfigError: a GPU is asked for, and this worker has none.
        TransientError: another run sealed the product, gave its work up or began it anew.
    """
    from models.encoding.prefetch import read_ahead

    storage = open_storage(store_uri)
    if embedding_receipt(storage, plan) is not None:
        return SectionOutcome(windows=0, reused=True)
    survey = _read_own_survey(storage, plan, place)
    if read_section(storage, plan, section, survey) is not None:
        return SectionOutcome(windows=0, reused=True)
    writer = SectionWriter(storage, plan, section, survey)
    layout = layout_of(plan)
    # Encoding goes on in a thread of its own while rows are stored.
    for first, values in read_ahead(encode_rows(storage, plan, section, survey, place), depth=1):
        writer.add(first, values)
    finished = writer.finish()
    check_work(storage, plan, survey)
    write_section(storage, plan, *finished)
    rows = layout.rows_touching(section.first, section.last)
    return SectionOutcome(windows=len(rows) * len(layout.col_starts), reused=False)


def seal_scene(store_uri: str, plan: EmbeddingPlan, _unit: None = None) -> None:
    """Seal embeddings whose sections stand. Runs on a worker; safe to repeat."""
    finish_embeddings(open_storage(store_uri), plan)


def layout_of(plan: EmbeddingPlan) -> WindowLayout:
    """Return where the windows of a scene lie."""
    from models.encoding.windows import WindowLayout

    settings = plan.settings
    return WindowLayout(
        shape_yx=plan.scene.grid.shape_yx,
        window_px=settings.window_px,
        overlap_px=settings.overlap_px,
        stride_px=settings.stride_px,
    )


def encode_rows(
    storage: Storage, plan: EmbeddingPlan, section: Section, survey: VectorSurvey, place: EncodingPlace
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the rows of cells of a section as they are done: the first, and float32 (rows, cols, width)."""
    from models.encoding.prefetch import read_ahead
    from models.encoding.stream import encode_strips
    from models.encoding.strips import Rows, cut_strips

    layout = layout_of(plan)
    starts = layout.rows_touching(section.first, section.last)
    first = starts[0] * layout.stride_px
    last = min(starts[-1] * layout.stride_px + layout.window_px, layout.shape_yx[0])
    reader = SceneReader(storage, plan)

    def read() -> Iterator[Rows]:
        for top, planes in reader.read_rows(first, last, decibel=survey.decibel):
            yield Rows(top, planes)

    encoder, computation = _load(plan, place)
    # Read, standardised and cut by a thread, one row of windows ahead.
    strips = read_ahead(cut_strips(read(), layout, starts, _standards(survey)), depth=1)
    rows = range(section.first, section.last)
    for done in encode_strips(encoder, strips, layout, computation, rows=rows):
        yield done.start, done.values


def _read_own_survey(storage: Storage, plan: EmbeddingPlan, place: EncodingPlace) -> VectorSurvey:
    survey = read_survey(storage, plan)
    if survey is None:
        raise TransientError(f"{plan.id} has no survey to go by: another run gave its work up; run again")
    if survey.device != place.device:
        raise TransientError(
            f"another run encodes {plan.id} on {survey.device}, this one on {place.device}, and numbers of "
            "both do not mix; run again when that one is over"
        )
    return survey


def _load(plan: EmbeddingPlan, place: EncodingPlace) -> tuple[DenseEncoder, Computation]:
    import torch

    from models.encoding.encoders import load_encoder
    from models.encoding.gpus import choose_gpu
    from models.encoding.stream import Computation

    device = place.device
    if device == "cuda":
        device = f"cuda:{choose_gpu(torch.cuda.device_count(), worker_number())}"
    weights = None if place.weights is None else Path(place.weights)
    try:
        encoder = load_encoder(plan.model, device, digest=plan.model_digest, weights=weights)
    except DataError as exc:  # the weights' fault, which must not put the scene into quarantine
        raise ConfigError(f"the encoder {plan.model} cannot be loaded: {exc.message}") from exc
    computation = Computation(
        device=torch.device(device), batch=place.batch, precision=plan.settings.precision
    )
    return encoder, computation


def _standards(survey: VectorSurvey) -> dict[str, Standard]:
    from models.encoding.strips import Standard

    return {name: Standard(mean, stddev) for name, (mean, stddev) in survey.standards.items()}


def _survey(storage: Storage, plan: EmbeddingPlan, place: EncodingPlace) -> VectorSurvey:
    """Measure the scene's bands and vectors on windows spread evenly over it."""
    from models.encoding.strips import measure_standard
    from models.encoding.survey import survey_windows
    from models.encoding.windows import spread_windows

    scenes = digest_scenes(storage, plan)  # before any pixel is read
    layout, reader = layout_of(plan), SceneReader(storage, plan)
    stride = layout.stride_px
    samples = [
        reader.read_window(row * stride, col * stride, layout.window_px)
        for row, col in spread_windows(layout, _SURVEY_WINDOWS)
    ]
    decibel = _judge_radar(plan, samples)
    samples = [to_decibels(planes, decibel=decibel) for planes in samples]
    standards = {
        each.modality: measure_standard(planes[each.modality] for planes in samples) for each in plan.inputs
    }
    known = {name: standard for name, standard in standards.items() if standard is not None}
    missing = [each.scene.id for each in plan.inputs if each.modality not in known]
    if missing:
        raise DataError(
            f"{missing[0]} holds no data in {len(samples)} windows spread over it; nothing is there to encode"
        )
    encoder, computation = _load(plan, place)
    strips = (_as_strip(planes, known, layout) for planes in _thin_out(samples, layout.count))
    found = survey_windows(encoder, strips, computation)
    if found is None:
        raise InternalError(f"{plan.scene.id} has data, but none of its windows has")
    return VectorSurvey(
        work=uuid.uuid4().hex,
        device=place.device,
        scenes=scenes,
        standards={name: (standard.mean, standard.stddev) for name, standard in known.items()},
        decibel=decibel,
        mean=found.mean,
        axes=found.axes,
        low=found.low,
        high=found.high,
        reach=found.reach,
    )


def _thin_out(samples: Sequence[Planes], windows: int) -> list[Planes]:
    """Choose which of the windows that were read are encoded for the survey: those with most data first."""
    most = max(_LEAST_ENCODED, round(windows * _ENCODED_SHARE))
    filled = [max(float(np.isfinite(values).mean()) for values in planes.values()) for planes in samples]
    step = max(1, len(samples) // most)
    # Even over the scene, not the fullest alone: those could all lie on one kind of ground.
    best = [
        max(range(first, min(first + step, len(samples))), key=filled.__getitem__)
        for first in range(0, len(samples), step)
    ]
    return [samples[index] for index in best]


def _judge_radar(plan: EmbeddingPlan, samples: Sequence[Planes]) -> bool | None:
    """Say whether radar is stored in decibels; None without radar or without data of it."""
    each = next((each for each in plan.inputs if each.modality == SAR), None)
    if each is None:
        return None
    values = np.concatenate([planes[SAR][np.isfinite(planes[SAR])] for planes in samples])
    if not values.size:
        return None
    unit = next(band.unit for band in each.scene.bands if band.name == each.names[0])
    return judge_radar(values[:: max(1, values.size // _RADAR_SAMPLE)], unit, each.scene.id)


def _as_strip(planes: Planes, standards: dict[str, Standard], layout: WindowLayout) -> Strip:
    """Standardise one window and fill it up where the scene ends."""
    from models.encoding.strips import Rows, cut_strips
    from models.encoding.windows import WindowLayout

    single = WindowLayout(
        shape_yx=next(iter(planes.values())).shape[1:],
        window_px=layout.window_px,
        overlap_px=0,
        stride_px=layout.stride_px,
    )
    (strip,) = cut_strips([Rows(0, planes)], single, (0,), standards)
    return strip


def count_gpus() -> int:
    """Return how many GPUs this process sees, without starting CUDA where there are none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    import torch

    return torch.cuda.device_count()
