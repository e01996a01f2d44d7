"""The looks and disturbances by name, and how they are put on a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from infra.errors import InputError
from models.modality.disturbances import Blocks, Blur, Clouds, Gamma, Noise, Occlusion, UnevenContrast
from models.modality.draws import Draws
from models.modality.sensors import (
    Edges,
    FewColours,
    FlatMap,
    Infrared,
    Night,
    Plain,
    Relief,
    Sar,
    Season,
)

Look: TypeAlias = Callable[[Tensor, Draws], Tensor]
"""From (samples, channels, height, width), 0 to 1, to (samples, 1, height, width), 0 to 1."""

LOOKS: dict[str, Look] = {
    "plain": Plain(),
    "map": FlatMap(),
    "sar": Sar(),
    "infrared": Infrared(),
    "relief": Relief(),
    "edges": Edges(),
    "few-colours": FewColours(),
    "season": Season(),
    "night": Night(),
}
"""What another sensor makes of an image; takes 1 or 3 channels."""

DISTURBANCES: dict[str, Look] = {
    "gamma": Gamma(),
    "uneven-contrast": UnevenContrast(),
    "clouds": Clouds(),
    "occlusion": Occlusion(),
    "blur": Blur(),
    "noise": Noise(),
    "blocks": Blocks(),
}
"""What happens to an image afterwards, in this order; takes 1 channel."""


def put_on(images: Tensor, names: Sequence[str], draws: Draws) -> Tensor:
    """Give every image a look of its own.

    Args:
        images: (samples, 1 or 3, height, width), 0 to 1.
        names: one look per sample.
        draws: the samples' random numbers.

    Returns:
        (samples, 1, height, width), float32.

    Raises:
        InputError: a look is not known.
    """
    unknown = set(names) - LOOKS.keys()
    if unknown:
        raise InputError(f"A look is called {min(unknown)!r}; expected one of {', '.join(LOOKS)}.")
    worn = torch.empty(len(images), 1, *images.shape[-2:], device=images.device)
    for name in sorted(set(names)):
        rows = [i for i, chosen in enumerate(names) if chosen == name]
        worn[rows] = LOOKS[name](images[rows], draws.of(rows))
    return worn


def disturb(images: Tensor, chances: Mapping[str, float], draws: Draws) -> Tensor:
    """Put disturbances on some of the images, each by its own chance.

    Args:
        images: (samples, 1, height, width), 0 to 1; not changed.
        chances: of each disturbance by name; one that is not named does not happen.
        draws: the samples' random numbers.

    Raises:
        InputError: a disturbance is not known.
    """
    unknown = chances.keys() - DISTURBANCES.keys()
    if unknown:
        raise InputError(
            f"A disturbance is called {min(unknown)!r}; expected one of {', '.join(DISTURBANCES)}."
        )
    disturbed = images.clone()
    for name, change in DISTURBANCES.items():
        hit = [i for i, stream in enumerate(draws.numbers) if stream.uniform() < chances.get(name, 0.0)]
        if hit:
            disturbed[hit] = change(disturbed[hit], draws.of(hit))
    return disturbed
