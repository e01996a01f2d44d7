"""Make cubes of known pixels, and embeddings of them in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from catalog.embeddings.inputs import choose_inputs
from catalog.embeddings.plan import EmbeddingPlan, EmbeddingReceipt, list_sections, plan_embedding
from catalog.items.scene import scene_item
from catalog.products import receipt_of
from catalog.registrations.plan import SceneFacts
from catalog.registrations.scenes import describe_scene
from infra.storage import LocalStorage
from tasks.encode_scene import EncodingPlace, describe_encoder, encode_section, seal_scene, survey_scene
from tests.support.synthetic import (
    build_cube,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
    write_image,
)

HERE = EncodingPlace(batch=4)


def draw_ground(shape: tuple[int, int], bands: int, seed: int) -> np.ndarray:
    """Draw smooth hills with sharp fields: float32 (bands, rows, cols), about 0 to 1."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    fields = rng.uniform(0, 0.5, (bands, shape[0] // 24 + 1, shape[1] // 24 + 1)).astype(np.float32)
    sharp = fields[:, (rows // 24).astype(int), (cols // 24).astype(int)]
    return (
        sharp
        + 0.25
        + 0.2 * np.sin(rows / 37 + seed) * np.cos(cols / 29)
        + rng.normal(0, 0.02, (bands, *shape))
    )


def make_optical(
    storage: LocalStorage, folder: Path, pixels: np.ndarray, name: str = "optical"
) -> SceneFacts:
    """Make a cube of red, green and blue stand; NaN becomes nodata."""
    stored = np.rint(1000 + 5000 * np.nan_to_num(pixels)).astype(np.uint16)
    stored[~np.isfinite(pixels)] = 0
    return _make(storage, folder, name, dict(zip(("red", "green", "blue"), stored, strict=True)), scale=1e-4)


def make_radar(
    storage: LocalStorage, folder: Path, power: np.ndarray, name: str = "radar", **facts: Any
) -> SceneFacts:
    """Make a cube of one polarisation stand, float32 with NaN for no data."""
    return _make(
        storage, folder, name, {"vv": power.astype(np.float32)}, dtype="float32", nodata="nan", **facts
    )


def _make(
    storage: LocalStorage, folder: Path, name: str, planes: dict[str, np.ndarray], **facts: Any
) -> SceneFacts:
    box = make_geobox(next(iter(planes.values())).shape)
    nodata = np.nan if facts.get("nodata") == "nan" else 0.0
    bands = [
        make_band(
            band,
            write_image(folder / f"{name}-{band}.tif", box, pixels, nodata=nodata),
            common_name=band if band != "vv" else None,
            **facts,
        )
        for band, pixels in planes.items()
    ]
    scene = dataclasses.replace(make_scene(name, box, bands), collection=name)
    plan = plan_one([scene], make_grid(box, shard_px=256, chunk_px=128))
    receipt = build_cube(storage, plan)
    return describe_scene(storage, scene_item(plan, receipt, root_href=storage.uri))


def plan_filters(*scenes: SceneFacts, **chosen: Any) -> EmbeddingPlan:
    """Plan embeddings by the encoder that needs no weights."""
    settings = describe_encoder(
        "filters", chosen.pop("overlap_px", None), **({"tile_px": 64, "dtype": "float32"} | chosen)
    )
    return plan_embedding(choose_inputs(scenes), model="filters", settings=settings)


def build_embeddings(storage: LocalStorage, plan: EmbeddingPlan) -> EmbeddingReceipt:
    """Make embeddings in this process: survey, every section, the seal."""
    survey_scene(storage.uri, plan, HERE)
    for section in list_sections(plan):
        encode_section(storage.uri, plan, section, place=HERE)
    seal_scene(storage.uri, plan)
    receipt = receipt_of(storage, plan)
    assert isinstance(receipt, EmbeddingReceipt)
    return receipt
