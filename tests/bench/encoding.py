"""Measure encoding: memory that stays flat as scenes grow, and tiles per second beside the bare encoder.

A scene of smooth noise is made as a Zarr cube; each measurement is a process of its own, so that its peak
resident memory is its own. ``bare`` runs the encoder alone on windows in memory, in the same batches,
``whole`` reads, encodes, blends and writes. A window is a tile here. MaRS has random weights: speed and
memory do not depend on them. On a CPU that others use as well, compare tiles for each second of CPU time.

    python -m tests.bench.encoding [--model mars-tiny] [--rows 2000] [--cols 20000] [--device cpu]

The scene of the project's bar has --rows 20000.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from catalog.cubes.layout import cube_codec
from catalog.embeddings.plan import EmbeddingInput, EmbeddingPlan, list_sections, plan_embedding
from catalog.records import Band, Grid
from catalog.registrations.plan import SceneFacts
from infra.storage import LocalStorage
from models.encoding.encoder import DenseEncoder
from models.encoding.encoders import FILTERS, load_encoder
from models.encoding.feeding import Batch
from models.encoding.stream import Computation, encode_windows
from tasks.encode_scene import (
    EncodingPlace,
    describe_encoder,
    encode_section,
    layout_of,
    seal_scene,
    survey_scene,
)

_BANDS = ("red", "green", "blue")
_CHUNK_PX, _SHARD_PX = 1024, 4096
_BARE_BATCHES = 12


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--model", default="mars-tiny")
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", default="float32")
    options.add_argument("--dtype", default="float16")
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--cols", type=int, default=20_000)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--folder", type=Path, help="keep scene and vectors here")
    options.add_argument("--only", choices=("scene", "bare", "whole"), help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.only:
        print(json.dumps(MEASUREMENTS[asked.only](asked)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        told = {name: run_apart(name, [*sys.argv[1:], "--folder", str(folder)]) for name in MEASUREMENTS}
    bare, whole = told["bare"], told["whole"]
    print(f"{asked.cols} × {asked.rows} px, {asked.model}, {asked.device}, {asked.precision} → {asked.dtype}")
    for title, one in (("bare encoder", bare), ("Zarr to Zarr", whole)):
        print(
            f"{title:14s}{one['per_second']:9.2f} tiles/s {one['per_cpu_second']:9.2f} tiles/CPU s "
            f"  peak RSS {one['peak_mib']:6.0f} MiB   {one['tiles']:.0f} tiles"
        )
    ratios = [whole[key] / bare[key] for key in ("per_second", "per_cpu_second")]
    print(f"{'ratio':14s}{ratios[0]:9.3f}         {ratios[1]:9.3f}")


def run_apart(name: str, words: list[str]) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.encoding", *words, "--only", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def make_scene(asked: argparse.Namespace) -> dict[str, float]:
    """Write the scene unless it is there, a row of chunks at a time."""
    plan = make_plan(asked)
    folder = asked.folder / "store" / plan.scene.path / "cube.zarr" / "0"
    if folder.exists():
        return {}
    group = zarr.create_group(folder)
    rng = np.random.default_rng(0)
    for band in _BANDS:
        array = group.create_array(
            band,
            shape=(asked.rows, asked.cols),
            dtype="uint16",
            chunks=(_CHUNK_PX, _CHUNK_PX),
            shards=(_SHARD_PX, _SHARD_PX),
            compressors=cube_codec(),
            fill_value=0,
        )
        for top in range(0, asked.rows, _SHARD_PX):
            shape = min(_SHARD_PX, asked.rows - top), asked.cols
            coarse = rng.integers(500, 4000, (-(-shape[0] // 16), -(-shape[1] // 16)), dtype=np.uint16)
            smooth = coarse.repeat(16, axis=0).repeat(16, axis=1)[: shape[0], : shape[1]]
            array[top : top + shape[0]] = smooth + rng.integers(0, 64, shape, dtype=np.uint16)
    return {}


def measure_bare(asked: argparse.Namespace) -> dict[str, float]:
    """Run the encoder alone on windows that are in memory and on the device."""
    plan, encoder = make_plan(asked), prepare_encoder(asked)
    computation = Computation(
        device=torch.device(asked.device), batch=asked.batch, precision=plan.settings.precision
    )
    edge = encoder.window_px
    image = torch.randn(asked.batch, len(_BANDS), edge, edge, device=computation.device)
    batch = Batch(range(asked.batch), {"rgb": image})
    with torch.inference_mode():
        for _ in range(2):
            encode_windows(encoder, batch, computation)
        wait(computation.device)
        clock = Clock()
        for _ in range(_BARE_BATCHES):
            encode_windows(encoder, batch, computation)
        wait(computation.device)
    return clock.tell(_BARE_BATCHES * asked.batch)


def measure_whole(asked: argparse.Namespace) -> dict[str, float]:
    """Read, encode, blend and write every section; the encoder is loaded before the clock starts."""
    plan, storage = make_plan(asked), LocalStorage(asked.folder / "store")
    prepare_encoder(asked)
    storage.delete_folder(plan.path)
    place = EncodingPlace(device=asked.device, batch=asked.batch, weights=weights_of(asked))
    clock = Clock()
    survey_scene(storage.uri, plan, place)
    for section in list_sections(plan):
        encode_section(storage.uri, plan, section, place=place)
    seal_scene(storage.uri, plan)
    return clock.tell(layout_of(plan).count)


MEASUREMENTS = {"scene": make_scene, "bare": measure_bare, "whole": measure_whole}


def make_plan(asked: argparse.Namespace) -> EmbeddingPlan:
    grid = Grid(
        crs="EPSG:32633",
        transform=(10.0, 0.0, 5e5, 0.0, -10.0, 5.4e6),
        shape_yx=(asked.rows, asked.cols),
        shard_px=_SHARD_PX,
        chunk_px=_CHUNK_PX,
    )
    bands = tuple(
        Band(name=name, asset="", href="", dtype="uint16", nodata=0.0, scale=1e-4, common_name=name)
        for name in _BANDS
    )
    scene = SceneFacts(
        id=f"bench-{asked.rows}x{asked.cols}",
        collection="scenes",
        digest="0" * 64,
        path=f"scenes/bench-{asked.rows}x{asked.cols}",
        title="Bench",
        grid=grid,
        bands=bands,
        datetime=dt.datetime(2024, 6, 1, tzinfo=dt.UTC),
        geometry={"type": "Polygon", "coordinates": [[[15, 48], [17, 48], [17, 49], [15, 49], [15, 48]]]},
    )
    settings = describe_encoder(asked.model, None, tile_px=64, dtype=asked.dtype, precision=asked.precision)
    inputs = [EmbeddingInput(modality="rgb", scene=scene, names=_BANDS)]
    return plan_embedding(inputs, model=asked.model, settings=settings)


def prepare_encoder(asked: argparse.Namespace) -> DenseEncoder:
    """Return the encoder; one that learns gets random weights, kept beside the scene."""
    weights = weights_of(asked)
    if weights is not None and not Path(weights).exists():
        from safetensors.torch import save_file

        from models.mars.network import Mars
        from models.mars.presets import find_preset

        torch.manual_seed(0)
        state = {
            name: value.contiguous() for name, value in Mars(find_preset(asked.model)).state_dict().items()
        }
        save_file(state, weights)
    device = "cuda:0" if asked.device == "cuda" else asked.device
    return load_encoder(asked.model, device, digest=None, weights=Path(weights) if weights else None)


def weights_of(asked: argparse.Namespace) -> str | None:
    return None if asked.model == FILTERS else str(asked.folder / f"{asked.model}.safetensors")


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """Counts wall clock and CPU time from its making on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def tell(self, tiles: int) -> dict[str, float]:
        """Say how fast tiles were made, and the most memory that this process has had."""
        return {
            "tiles": tiles,
            "per_second": tiles / (time.perf_counter() - self._wall),
            "per_cpu_second": tiles / (time.process_time() - self._cpu),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


if __name__ == "__main__":
    main()
