"""Mean and spread of the channels MaRS looks at, and their way into weights files and out again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infra.errors import DataError, InputError, NotFoundError

METADATA_KEY = "statistics"
"""Entry of a safetensors file's metadata that holds statistics by the name of their source."""
STATISTICS_BUFFER = "statistics"
"""Name of the tensor that holds the same text, byte by byte, while a model is trained."""
_MAX_TEXT = 100_000


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and spread of one modality's channels over valid pixels, in the numbers that are stored.

    Attributes:
        mean: one per channel.
        std: population standard deviation, one per channel, above 0.

    Raises:
        InputError: numbers that standardise nothing.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the numbers."""
        if len(self.mean) != len(self.std) or not self.mean:
            raise InputError(
                f"{len(self.mean)} means and {len(self.std)} deviations; expected one of each per channel."
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise InputError(
                f"Means {self.mean} and deviations {self.std} standardise nothing; expected finite numbers, "
                "deviations above 0. A channel that is the same everywhere must be left out."
            )

    def standardise(self, images: Tensor) -> Tensor:
        """Return (image − mean) / std, float32; NaN stays NaN.

        Args:
            images: (batch, channels, height, width), in the numbers the statistics are of.

        Raises:
            InputError: another number of channels.
        """
        mean, std = self._spread(images)
        return (images.float() - mean) / std

    def restore(self, images: Tensor) -> Tensor:
        """Return what ``standardise`` was given, float32."""
        mean, std = self._spread(images)
        return images.float() * std + mean

    def _spread(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise InputError(
                f"Statistics of {len(self.mean)} channels do not fit images of shape {tuple(images.shape)}; "
                "expected (batch, channels, height, width)."
            )
        mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]


@dataclass(frozen=True)
class Statistics:
    """The statistics of one source of aligned images.

    Attributes:
        rgb: of red, green, blue; None for a source without them.
        sar: of the radar channel; None likewise.
        sar_unit: what the radar's numbers are: ``dB``, ``linear``, ``amplitude``, or ``none`` for pictures.
    """

    rgb: ChannelStatistics | None
    sar: ChannelStatistics | None
    sar_unit: str = "dB"

    def standardise(self, rgb: Tensor | None, sar: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Standardise a pair of batches; a missing one stays missing.

        Raises:
            InputError: images of a modality that the source has no statistics of, or of other channels.
        """
        return self._one("rgb", self.rgb, rgb), self._one("sar", self.sar, sar)

    @staticmethod
    def _one(name: str, known: ChannelStatistics | None, images: Tensor | None) -> Tensor | None:
        if images is None:
            return None
        if known is None:
            raise InputError(f"This source has no statistics of {name}; compute them from its data first.")
        return known.standardise(images)


PUBLISHED = {
    "umbra": Statistics(
        ChannelStatistics((87.01, 91.52, 83.51), (62.66, 54.58, 53.11)),
        ChannelStatistics((36.42,), (33.89,)),
        "amplitude",
    ),
    "capella": Statistics(
        ChannelStatistics((87.01, 91.52, 83.51), (62.66, 54.58, 53.11)),
        ChannelStatistics((2353.35,), (4327.07,)),
        "amplitude",
    ),
}
"""Those of the published model's training data, for its own weights."""


def measure_statistics(rgb: Tensor | None, sar: Tensor | None, *, sar_unit: str) -> Statistics:
    """Return the statistics of images in memory.

    Args:
        rgb: (n, 3, height, width), NaN where there is no data; None for none.
        sar: (n, 1, height, width), likewise.
        sar_unit: what the radar's numbers are.

    Raises:
        InputError: a channel is the same everywhere, or holds no number.
    """
    return Statistics(_measure(rgb), _measure(sar), sar_unit)


def _measure(images: Tensor | None) -> ChannelStatistics | None:
    if images is None:
        return None
    channels = [channel[channel.isfinite()].double() for channel in images.float().transpose(0, 1)]
    if not all(map(len, channels)):
        raise InputError("A channel holds no number at all; leave out images without data.")
    return ChannelStatistics(
        tuple(float(values.mean()) for values in channels),
        tuple(float(values.std(correction=0)) for values in channels),
    )


def write_statistics(sources: Mapping[str, Statistics]) -> str:
    """Spell statistics by source for a file's metadata; the same ones give the same text."""
    return json.dumps({name: asdict(one) for name, one in sources.items()}, sort_keys=True)


def read_statistics(text: str) -> dict[str, Statistics]:
    """Read what ``write_statistics`` spelt, e.g. out of a foreign file.

    Raises:
        DataError: it is something else.
    """
    try:
        stated = json.loads(text[:_MAX_TEXT])
        return {
            str(name): Statistics(_read(one["rgb"]), _read(one["sar"]), str(one["sar_unit"]))
            for name, one in stated.items()
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        raise DataError(
            f"The statistics of a weights file cannot be read ({exc!s:.200}); expected means and "
            "deviations by source; write the file again."
        ) from exc


def pack_statistics(sources: Mapping[str, Statistics]) -> Tensor:
    """Spell statistics as a tensor that lies among a module's weights: uint8 (bytes of the text,)."""
    return torch.tensor(list(write_statistics(sources).encode()), dtype=torch.uint8)


def load_statistics(path: Path) -> dict[str, Statistics]:
    """Read the statistics that came with weights, shipped or as a training left them.

    Raises:
        NotFoundError: there is no such file.
        DataError: it cannot be read, or holds none.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no weights file {path}.")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                text = bytes(file.get_tensor(STATISTICS_BUFFER).to(torch.uint8).tolist()).decode()
    except (SafetensorError, OSError, ValueError) as exc:
        raise DataError(f"{path} holds no statistics of what it was trained on ({exc}); name others") from exc
    return read_statistics(text)


def _read(stated: Mapping[str, Any] | None) -> ChannelStatistics | None:
    if stated is None:
        return None
    mean, std = (tuple(float(value) for value in stated[name]) for name in ("mean", "std"))
    return ChannelStatistics(mean, std)
