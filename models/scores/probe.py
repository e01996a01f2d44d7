"""How much a linear reader gets out of features: logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infra.errors import InputError

_ITERATIONS = 200


@dataclass(frozen=True)
class LinearProbe:
    """A linear map of features.

    Attributes:
        weights: float64 (width, outputs), on features as they are given.
        bias: float64 (outputs,).
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def predict(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return outputs (n, outputs) of features (n, width)."""
        predicted: NDArray[np.float64] = features.astype(np.float64) @ self.weights + self.bias
        return predicted

    def classify(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return the highest output's number, int64 (n,)."""
        classes: NDArray[np.int64] = self.predict(features).argmax(axis=1)
        return classes


def fit_logistic(
    features: NDArray[Any], labels: NDArray[Any], classes: int, *, strength: float = 1e-3
) -> LinearProbe:
    """Fit classes by multinomial logistic regression, to the optimum; deterministic.

    Args:
        features: (n, width), any real dtype; brought to deviation 1 first.
        labels: whole numbers (n,), 0 to ``classes`` − 1.
        classes: how many there are, at least 2.
        strength: of the penalty on the weights, half their square over all.

    Raises:
        InputError: shapes or labels that do not fit, or a strength below 0.
    """
    x, mean, scale = _standardise(features, strength)
    known = labels.dtype.kind in "biu" and labels.shape == (len(x),)
    if not known or classes < 2 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"Labels of shape {labels.shape} and type {labels.dtype} stand against {len(x)} features; "
            f"expected as many whole numbers from 0 to {classes - 1}."
        )
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))
    weights = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [weights, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=1e-7
    )

    def penalised() -> torch.Tensor:
        search.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weights + bias, wanted)
        loss = loss + strength / 2 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        search.step(penalised)  # type: ignore[no-untyped-call]
    found = weights.detach().numpy() / scale[:, None]
    return LinearProbe(found, bias.detach().numpy() - mean @ found)


def _standardise(
    features: NDArray[Any], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    if features.ndim != 2 or not len(features) or not strength >= 0:
        raise InputError(
            f"A probe is fitted to features of shape {features.shape} with strength {strength}; expected "
            "(n, width) and 0 or more."
        )
    x = features.astype(np.float64)
    if not np.isfinite(x).all():
        raise InputError("A probe's feature is not finite; look at what was encoded.")
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 1e-12, spread, 1.0)
    return (x - mean) / scale, mean, scale
