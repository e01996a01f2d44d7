"""MapGlue as a matcher of image pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.mapglue.checkpoint import find_weights, load_weights, read_state
from models.mapglue.config import MapGlueConfig
from models.mapglue.pairing import PairNetwork, Prepared, fit_factor, make_picture, shrink
from models.mapglue.presets import find_preset
from models.mapglue.side import Points
from models.matching.images import GreyImage, prepare_image
from models.matching.matches import Matches

_LEAST_SIDE = 32
ImagePair = tuple[GreyImage, GreyImage]


class MapGlueMatcher:
    """Finds tie points by a trained MapGlue; the same images give the same answer.

    Args:
        preset: "mapglue-tiny", "mapglue-fast" or "mapglue".
        weights: file of them; None for those that come with the preset.
        device: as torch spells it.
        network: with weights of its own, instead of reading any.

    Raises:
        InputError: no such preset, or no weights come with it.
        NotFoundError: no such file.
        DataError: the file does not fit the preset.
    """

    def __init__(
        self,
        preset: str = "mapglue-tiny",
        weights: Path | None = None,
        device: str = "cpu",
        network: PairNetwork | None = None,
    ) -> None:
        self.config: MapGlueConfig = find_preset(preset)
        self.device = torch.device(device)
        self.network = network if network is not None else load_network(self.config, weights)
        self.network.to(self.device).eval()

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.config.name

    def match(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        *,
        fixed_valid: NDArray[np.bool_] | None = None,
        moving_valid: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return the tie points of two images; see :class:`models.matching.matches.Matcher`."""
        pair = prepare_image(fixed, fixed_valid), prepare_image(moving, moving_valid)
        return self.match_batch([pair])[0]

    def match_batch(self, pairs: Sequence[ImagePair]) -> list[Matches]:
        """Return the tie points of pairs of grey images, matched together; the same as one by one."""
        found = [Matches.none() for _ in pairs]
        rows = [i for i, pair in enumerate(pairs) if all(_shows_something(image) for image in pair)]
        if not rows:
            return found
        with torch.inference_mode():
            factors = [
                fit_factor([*pairs[i][0].shape, *pairs[i][1].shape], self.config.max_side) for i in rows
            ]
            prepared = [self._prepare(pairs[i], factor) for i, factor in zip(rows, factors, strict=True)]
            partner, scores = self.network.model.glue(
                pad_points([one.points0 for one in prepared]), pad_points([one.points1 for one in prepared])
            )
            for row, one, factor, partners, values in zip(
                rows, prepared, factors, partner, scores, strict=True
            ):
                count = one.fixed.xy.shape[1]
                found[row] = as_matches(self.network.finish(one, partners[:count], values[:count], factor))
        return found

    def _prepare(self, pair: ImagePair, factor: float) -> Prepared:
        fixed, moving = (
            shrink(
                make_picture(
                    torch.from_numpy(image.grey).to(self.device),
                    torch.from_numpy(image.valid).to(self.device),
                ),
                factor,
            )
            for image in pair
        )
        return self.network.prepare(fixed, moving, self.config.detection.max_keypoints)


def load_network(config: MapGlueConfig, weights: Path | None) -> PairNetwork:
    """Return a preset's network with weights from a file, or those that come with the preset.

    Raises:
        InputError: no weights come with the preset.
        NotFoundError: no such file.
        DataError: the file does not fit the preset.
    """
    path = find_weights(config.name) if weights is None else weights
    network = PairNetwork(config)
    load_weights(network.model, read_state(path), str(path))
    return network.eval()


def pad_points(points: Sequence[Points]) -> Points:
    """Return points of several pairs, one pair each, as one batch padded to the most."""
    most = max(one.positions.shape[1] for one in points)
    rows = [[_pad(value, most) for value in one] for one in points]
    return Points(*(torch.cat(values) for values in zip(*rows, strict=True)))


def as_matches(found: Tensor) -> Matches:
    """Return (n, 5) rows of positions and scores, best first, as matches."""
    values = found.cpu().numpy().astype(np.float32)
    return Matches(values[:, :2].copy(), values[:, 2:4].copy(), values[:, 4].copy())


def _pad(value: Tensor, most: int) -> Tensor:
    short = most - value.shape[1]
    return torch.cat([value, value.new_zeros((1, short, *value.shape[2:]))], dim=1) if short else value


def _shows_something(image: GreyImage) -> bool:
    return not image.flat and min(image.shape) >= _LEAST_SIDE
