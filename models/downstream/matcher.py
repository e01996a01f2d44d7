"""A trained registration network as a matcher of image pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.errors import DataError
from models.downstream.descriptors import as_bands, fill_and_pad, match_descriptors
from models.downstream.evaluation import load_network, read_learner
from models.downstream.learner import learner_of
from models.downstream.lessons import View
from models.downstream.network import DownstreamNetwork
from models.matching.images import prepare_image
from models.matching.matches import Matches

_TASK = "registration"


class FeatureMatcher:
    """Finds tie points by what a registration network says of every cell of 4 × 4 pixels.

    An image of three bands is taken for red, green and blue, any other for a radar's.

    Args:
        network: trained on the registration task.
        device: where it computes, as torch spells it.
    """

    def __init__(self, network: DownstreamNetwork, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device).eval()

    @property
    def name(self) -> str:
        """The name results are written under."""
        return "features"

    def match(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        *,
        fixed_valid: NDArray[np.bool_] | None = None,
        moving_valid: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return the tie points of two images; see :class:`models.matching.matches.Matcher`.

        Raises:
            InputError: an image or mask of a shape or type that does not fit.
        """
        sides = prepare_image(fixed, fixed_valid), prepare_image(moving, moving_valid)
        if any(side.flat for side in sides):
            return Matches.none()
        described = [
            self._describe(image, side.valid) for image, side in zip((fixed, moving), sides, strict=True)
        ]
        matches = match_descriptors(*described)
        kept = _holds(sides[0].valid, matches.fixed_xy) & _holds(sides[1].valid, matches.moving_xy)
        return Matches(matches.fixed_xy[kept], matches.moving_xy[kept], matches.scores[kept])

    def _describe(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        shown = fill_and_pad(as_bands(image), valid).to(self._device)
        view = View(shown, None) if shown.shape[1] == 3 else View(None, shown)
        with torch.inference_mode():
            output: Tensor = self._network([view])
            return output[0, 0]


def load_matcher(weights: Path, device: str = "cpu") -> FeatureMatcher:
    """Return a matcher by weights that a training of the registration task left.

    ``terraloom evaluate downstream --task registration --out FOLDER`` writes into them which pyramid they
    are of; others are taken for those of the task's own configuration.

    Raises:
        NotFoundError: there is no such file.
        DataError: the weights are of another task, or not of this configuration.
    """
    learner = read_learner(weights) or learner_of(_TASK)
    if learner.config.task != _TASK:
        raise DataError(f"{weights} was trained for {learner.config.task}; matching takes {_TASK}'s.")
    network = load_network(learner, weights)
    assert isinstance(network, DownstreamNetwork)
    return FeatureMatcher(network, device)


def _holds(valid: NDArray[np.bool_], xy: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which positions lie on valid pixels; the padding has none."""
    column, row = np.rint(xy).astype(np.int64).T
    height, width = valid.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    found: NDArray[np.bool_] = inside & valid[row.clip(0, height - 1), column.clip(0, width - 1)]
    return found
