"""How much a linear reader gets out of MaRS: ``python tests/bench/mars_probe.py [WEIGHTS]``.

Land cover and SAR–optical retrieval on the three terramesh places of TERRALOOM_REAL_DATA, which nothing
here was trained on. Each place is tested with a probe fitted on the other two, three ways. Retrieval also
on chips of sample worlds that no lesson holds. Beside the preset's shipped weights (or those given) stand
the same network with fresh weights of several seeds, and handcrafted features: principal components of
bands and of their gradients.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from torch import Tensor
from torch.nn import functional as F

from catalog.chips.sample_worlds import SampleWorlds
from models.mars.checkpoint import find_weights, load_mars
from models.mars.config import MarsConfig
from models.mars.dense import MarsDenseEncoder
from models.mars.encoder import MarsEncoder
from models.mars.lessons import Chips
from models.mars.network import Mars
from models.mars.presets import find_preset
from models.mars.statistics import measure_statistics
from models.mars.training import image_features
from models.scores.probe import fit_logistic
from models.scores.retrieval import rank_partners, recall_at
from models.scores.segmentation import count_confusion, score_confusion

_PLACES = {"Brazil": "282D_485L_3_3", "Tanzania": "38D_378R_2_3", "Chile": "433D_629L_3_1"}
_CLASSES = 10
_RED_GREEN_BLUE = (4, 3, 2)
_CELL_PX = 4
_OFFSET = 1000
_CHIP_PX = 32
_STRENGTH = 1e-2
_SEEDS = (0, 1, 2, 3, 4)
_SIGMAS = (1.0, 2.0, 4.0)
_LEARNED_WORLDS, _WORLDS, _WORLD_CHIP_PX = 48, 8, 128
Features = Callable[["Place"], NDArray[np.float64]]
"""Of a place: float64 (cells, width), cells of 4 × 4 pixels row by row."""
Vectors = Callable[[Tensor, Tensor], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Of colour and radar chips: one vector each."""


@dataclass(frozen=True)
class Place:
    """One terramesh place, standardised by its own statistics, as ``terraloom encode`` does it.

    Attributes:
        name: of its country.
        rgb: float32 (1, 3, 224, 224), reflectance.
        sar: float32 (1, 1, 224, 224), VV in dB.
        cover: uint8 (3136,), the commonest class of each cell; 0 where none has most of it.
    """

    name: str
    rgb: Tensor
    sar: Tensor
    cover: NDArray[np.uint8]


def main(weights: Path, seeds: Sequence[int] = _SEEDS) -> None:
    """Write the table: accuracy and mean IoU of each place and their means, then recall@1.

    The latter radar to optical and back: of places by mean tokens, of worlds by mean tokens, and by tokens
    each at its place.
    """
    config = find_preset("mars-tiny")
    places = [_read_place(name, tile) for name, tile in _PLACES.items()]
    trained = load_mars(config, weights).eval()
    _tell(f"{config.name}, trained", *_measure(places, *_readers(trained)))
    rows = [_measure(places, *_readers(net)) for net in (_fresh(config, seed) for seed in seeds)]
    covers, recalls = (np.array(side) for side in zip(*rows, strict=True))
    _tell(f"{config.name}, fresh, mean of {len(seeds)}", covers.mean(0), recalls.mean(0))
    _tell("  spread (standard deviation)", covers.std(0), recalls.std(0))
    _tell("bands and gradients, components", *_measure(places, _components(places), _handmade, _handmade))


def _read_place(name: str, tile: str) -> Place:
    folder = Path(os.environ["TERRALOOM_REAL_DATA"]) / "optical_sar" / "terramesh"
    with rasterio.open(folder / "S2L2A" / f"{tile}.tif") as file:
        rgb = torch.from_numpy(_read_reflectance(file))[None]
    with rasterio.open(folder / "S1RTC" / f"{tile}.tif") as file:
        sar = torch.from_numpy(file.read([1]).astype(np.float32))[None]
    with rasterio.open(folder / "LULC" / f"{tile}.tif") as file:
        cover = file.read(1)
    return Place(name, rgb, sar, _vote(cover))


def _read_reflectance(file: DatasetReader) -> NDArray[np.float32]:
    """Read red, green, blue reflectance × 10⁴; since baseline 04.00 of 2022 Sentinel-2 stores it + 1,000."""
    bands: NDArray[np.float32] = file.read(_RED_GREEN_BLUE).astype(np.float32)
    return bands - _OFFSET if bands.min() >= _OFFSET else bands


def _standardise(places: Sequence[Place], known: Sequence[Place]) -> list[Place]:
    """Bring all places to the mean and deviation of those that are known."""
    rgb, sar = (torch.cat([getattr(place, side) for place in known]) for side in ("rgb", "sar"))
    statistics = measure_statistics(rgb, sar, sar_unit="dB")
    assert statistics.rgb is not None
    assert statistics.sar is not None
    return [
        replace(place, rgb=statistics.rgb.standardise(place.rgb), sar=statistics.sar.standardise(place.sar))
        for place in places
    ]


def _vote(cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (length // _CELL_PX for length in cover.shape)
    cells = cover.reshape(rows, _CELL_PX, columns, _CELL_PX).swapaxes(1, 2).reshape(rows * columns, -1)
    counts = np.stack([(cells == number).sum(1) for number in range(_CLASSES)], axis=1)
    clear = counts.max(1) > cells.shape[1] // 2
    return np.where(clear, counts.argmax(1), 0).astype(np.uint8)


def _measure(
    places: Sequence[Place], features: Features, means: Vectors, layouts: Vectors
) -> tuple[list[float], list[float]]:
    recalls = (_retrieve(places, means), _retrieve_worlds(means), _retrieve_worlds(layouts))
    return _probe(places, features), [recall for pair in recalls for recall in pair]


def _probe(places: Sequence[Place], describe: Features) -> list[float]:
    """Return accuracy and mean IoU of each place, by a probe of the other two, over classes they know."""
    found = []
    for held in range(len(places)):
        others = [row for row in range(len(places)) if row != held]
        seen = _standardise(places, [places[row] for row in others])
        features = [describe(place) for place in seen]
        labels = np.concatenate([places[row].cover for row in others])
        known = labels > 0
        learned = np.concatenate([features[row] for row in others])[known]
        probe = fit_logistic(learned, labels[known], _CLASSES, strength=_STRENGTH)
        truth = places[held].cover
        asked = np.isin(truth, np.unique(labels[known]))
        answer = probe.classify(features[held][asked])
        scores = score_confusion(count_confusion(truth[asked].astype(np.int64), answer, _CLASSES))
        found += [scores.accuracy, _mean_iou(scores.iou, truth[asked])]
    return [*found, float(np.mean(found[0::2])), float(np.mean(found[1::2]))]


def _mean_iou(iou: NDArray[np.float64], truth: NDArray[np.uint8]) -> float:
    """Return the mean over classes that the place has: the others are no part of it."""
    return float(iou[np.unique(truth)].mean())


def _retrieve(places: Sequence[Place], vectors: Vectors) -> list[float]:
    """Return recall@1 among all places' chips, radar to optical and back."""
    seen = _standardise(places, places)
    rgb, sar = (torch.cat([_cut(getattr(place, side)) for place in seen]) for side in ("rgb", "sar"))
    return _recall(vectors(rgb, sar))


def _retrieve_worlds(vectors: Vectors) -> list[float]:
    """Return recall@1 among chips of sample worlds beyond those that are learned from."""
    return _recall(vectors(*_draw_worlds()))


@lru_cache(maxsize=1)
def _draw_worlds() -> tuple[Tensor, Tensor]:
    worlds = SampleWorlds(_LEARNED_WORLDS + _WORLDS, size_px=_WORLD_CHIP_PX)
    first = len(worlds) * _LEARNED_WORLDS // (_LEARNED_WORLDS + _WORLDS)
    chips = [worlds.read(row) for row in range(first, len(worlds))]
    rgb, sar = (
        torch.from_numpy(np.stack([getattr(chip, side) for chip in chips])) for side in ("rgb", "sar")
    )
    seen = measure_statistics(rgb, sar, sar_unit="dB").standardise(rgb, sar)
    assert seen[0] is not None
    assert seen[1] is not None
    return seen[0], seen[1]


def _recall(sides: tuple[NDArray[np.float64], NDArray[np.float64]]) -> list[float]:
    left, right = sides
    return [recall_at(rank_partners(right, left))[1], recall_at(rank_partners(left, right))[1]]


def _cut(image: Tensor, size: int = _CHIP_PX * 2) -> Tensor:
    pieces = F.unfold(image, size, stride=_CHIP_PX)
    return pieces[0].T.reshape(-1, image.shape[1], size, size)


def _readers(mars: Mars) -> tuple[Features, Vectors, Vectors]:
    return _dense(mars), _means(mars), _layouts(mars)


def _dense(mars: Mars) -> Features:
    encoder = MarsDenseEncoder(mars)

    def encode(place: Place) -> NDArray[np.float64]:
        cells = encoder.encode({"rgb": place.rgb, "sar": place.sar})[0]
        return cells.flatten(1).T.double().numpy()

    return encode


def _means(mars: Mars) -> Vectors:
    def encode(rgb: Tensor, sar: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        valid = torch.ones_like(sar, dtype=torch.bool)
        with torch.inference_mode():
            chips = Chips(rgb, sar, valid, valid[:, 0], torch.arange(len(rgb)), "rgb")
            left, right = image_features(mars, chips)
        return left.double().numpy(), right.double().numpy()

    return encode


def _layouts(mars: Mars) -> Vectors:
    """Compare chips token by token: what stands where, not only what there is."""

    def describe(encoder: MarsEncoder, images: Tensor) -> NDArray[np.float64]:
        tokens = F.normalize(encoder.normalise(encoder(images)[-1]), dim=-1).flatten(1).double().numpy()
        centred: NDArray[np.float64] = tokens - tokens.mean(0)
        return centred

    def encode(rgb: Tensor, sar: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with torch.inference_mode():
            return describe(mars.encoder_rgb, rgb), describe(mars.encoder_sar, sar)

    return encode


def _fresh(config: MarsConfig, seed: int) -> Mars:
    torch.manual_seed(seed)
    return Mars(config).eval()


def _components(places: Sequence[Place]) -> Features:
    """Return bands and gradients at three scales, turned to their principal components."""
    seen = _standardise(places, places)
    every = np.concatenate([_describe(torch.cat([place.rgb, place.sar], 1)) for place in seen])
    _, _, turn = np.linalg.svd(every - every.mean(0), full_matrices=False)
    return lambda place: (_describe(torch.cat([place.rgb, place.sar], 1)) - every.mean(0)) @ turn.T


def _describe(bands: Tensor) -> NDArray[np.float64]:
    layers = []
    for sigma in _SIGMAS:
        smooth = _blur(bands, sigma)
        across, down = (torch.gradient(smooth, dim=dim)[0] for dim in (3, 2))
        layers += [smooth, torch.hypot(across, down)]
    cells = F.avg_pool2d(torch.cat(layers, 1), _CELL_PX)[0]
    table: NDArray[np.float64] = cells.flatten(1).T.double().numpy()
    return table


def _blur(bands: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-steps.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(bands.shape[1], 1, 1, -1)
    wide = F.conv2d(F.pad(bands, (reach, reach, reach, reach), mode="reflect"), kernel, groups=bands.shape[1])
    return F.conv2d(wide, kernel.transpose(2, 3), groups=bands.shape[1])


def _handmade(rgb: Tensor, sar: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Describe grey colour and radar by the same numbers, each brought to mean 0, deviation 1."""
    sides = []
    for image in (rgb.mean(1, keepdim=True), sar):
        numbers = []
        for sigma in _SIGMAS:
            smooth = _blur(image, sigma)
            edges = torch.hypot(*torch.gradient(smooth, dim=(2, 3)))
            numbers += [F.adaptive_avg_pool2d(part, 4).flatten(1) for part in (smooth, edges)]
        table = torch.cat(numbers, 1).double().numpy()
        sides.append((table - table.mean(0)) / table.std(0))
    return sides[0], sides[1]


def _tell(
    name: str, cover: Sequence[float] | NDArray[np.float64], recall: Sequence[float] | NDArray[np.float64]
) -> None:
    numbers = "  ".join(f"{value:.3f}" for value in (*cover, *recall))
    sys.stdout.write(f"{name:34s} {numbers}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else find_weights("mars-tiny"))
