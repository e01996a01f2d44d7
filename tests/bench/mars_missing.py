"""What a land cover head loses when the optical image is missing: ``python tests/bench/mars_missing.py``.

The same head is trained with both images over the frozen preset, once with its pretrained weights and once
with fresh ones, and asked with both, with radar only and with optical only, on held-out drawn places.
Several seeds, of head, lessons and fresh weights. Give a file of weights to measure those instead of the
shipped ones.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.downstream.config import DownstreamConfig, PyramidConfig, find_config
from models.downstream.evaluation import train_task
from models.downstream.learner import DownstreamLearner
from models.downstream.pyramids import FRESH

_SEEDS = (0, 1, 2)
_STEPS = 250
_ASKED = ("miou", "miou_sar_only", "miou_rgb_only")


def main(weights: str, seeds: Sequence[int] = _SEEDS) -> None:
    """Write mean and deviation over seeds of every mIoU, and of what a missing image costs."""
    for name, given in (("pretrained", weights), ("fresh", FRESH)):
        found = np.array([_measure(_configure(given, seed)) for seed in seeds])
        both, radar, optical = found.T
        for title, values in (
            ("both", both),
            ("radar only", radar),
            ("optical only", optical),
            ("lost without optical", both - radar),
            ("lost without radar", both - optical),
        ):
            sys.stdout.write(f"{name:12s} {title:22s} {values.mean():.3f} ± {values.std():.3f}\n")
        sys.stdout.flush()


def _configure(weights: str, seed: int) -> DownstreamConfig:
    filed = find_config("mapping")
    return dataclasses.replace(
        filed,
        pyramid=PyramidConfig(name="mars-tiny", tuned=False, weights=weights),
        lessons=dataclasses.replace(filed.lessons, missing=0.0),
        training=dataclasses.replace(filed.training, steps=_STEPS, seed=seed, evaluate_every=0),
    )


def _measure(config: DownstreamConfig) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        result = train_task(DownstreamLearner(config), Path(folder), torch.device("cpu"))
    return [result.figures[name] for name in _ASKED]


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
