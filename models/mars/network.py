"""MaRS: two encoders, the attention between them, and the way back to pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from infra.errors import InputError
from models.mars.config import CHANNELS, MarsConfig
from models.mars.encoder import MarsEncoder
from models.mars.filling import ModalityFill, filling_errors
from models.mars.heads import (
    DenseDecoder,
    DensePixelHead,
    PixelShuffleHead,
    as_map,
)
from models.mars.inputs import check_images, fill_nodata
from models.mars.mma import MetaModalityAttention

Pyramid = list[Tensor]
_PUBLISHED_TEMPERATURE = 0.07


class MarsFeatures(NamedTuple):
    """What MaRS sees, before anything is rebuilt.

    Attributes:
        rgb_pyramid: four maps of the encoder, finest first, (batch, width_i, height / stride_i,
            width / stride_i); None if the modality was not given.
        sar_pyramid: likewise.
        rgb_tokens: after the attention between modalities, (batch, cells, width), cells row by row. Of a
            modality that was not given they are what the network thinks of it; None with
            ``reference_compat``.
        sar_tokens: likewise.
    """

    rgb_pyramid: Pyramid | None
    sar_pyramid: Pyramid | None
    rgb_tokens: Tensor | None
    sar_tokens: Tensor | None


class MarsAnswer(NamedTuple):
    """What MaRS sees and rebuilds; the first four are those of :class:`MarsFeatures`.

    Attributes:
        rgb_pyramid: maps of the encoder.
        sar_pyramid: likewise.
        rgb_tokens: after the attention between modalities.
        sar_tokens: likewise.
        rebuilt_rgb: (batch, 3, height, width), standardised; of a modality that was not given, what it
            may look like (None with ``reference_compat``).
        rebuilt_sar: (batch, 1, height, width), likewise.
        dense: (batch, ``dense_width``, height / 4, width / 4), the optical half first; None with
            ``reference_compat``.
    """

    rgb_pyramid: Pyramid | None
    sar_pyramid: Pyramid | None
    rgb_tokens: Tensor | None
    sar_tokens: Tensor | None
    rebuilt_rgb: Tensor | None
    rebuilt_sar: Tensor | None
    dense: Tensor | None


class Mars(nn.Module):
    """The network of one preset.

    What differs with ``reference_compat``: the attention between modalities is the published one (see
    there), heads read the coarsest map only, encoders carry the published training's unused classifier,
    and a learned temperature is there that nothing uses. Masks hide in either case: the released
    weights do not need the leak, and no number of the published network depends on it.

    Args:
        config: of the preset.

    Source: MaRS, AAAI 2026, 40(14):11685-11693.
    """

    def __init__(self, config: MarsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder_rgb = MarsEncoder(config, CHANNELS["rgb"])
        self.encoder_sar = MarsEncoder(config, CHANNELS["sar"])
        self.mma = MetaModalityAttention(config)
        if config.reference_compat:
            self.head_rgb: nn.Module = PixelShuffleHead(config.width, CHANNELS["rgb"])
            self.head_sar: nn.Module = PixelShuffleHead(config.width, CHANNELS["sar"])
            self.temperature = nn.Parameter(torch.tensor(_PUBLISHED_TEMPERATURE))
            return
        half = config.dense_width // 2
        self.decoder_rgb = DenseDecoder(config.widths, half)
        self.decoder_sar = DenseDecoder(config.widths, half)
        self.head_rgb = DensePixelHead(half, CHANNELS["rgb"])
        self.head_sar = DensePixelHead(half, CHANNELS["sar"])
        self.rgb_from_sar = ModalityFill(config)
        self.sar_from_rgb = ModalityFill(config)

    def forward(self, rgb: Tensor | None, sar: Tensor | None, mask: Tensor | None = None) -> MarsAnswer:
        """Look at images and rebuild them.

        Args:
            rgb: float32 (batch, 3, height, width), standardised; None where it is missing. Pixels that
                are not finite count as the mean.
            sar: float32 (batch, 1, height, width), likewise. Sides are multiples of 32.
            mask: bool (batch, height / 4, width / 4), True = hidden, in both modalities; None for none.

        Raises:
            InputError: images or a mask of another kind; see :func:`models.mars.inputs.check_images`.
        """
        seen = self.look(rgb, sar, mask)
        if self.config.reference_compat:
            grid = check_images(rgb, sar)
            rebuilt = (
                None if tokens is None else head(as_map(tokens, grid))
                for tokens, head in ((seen.rgb_tokens, self.head_rgb), (seen.sar_tokens, self.head_sar))
            )
            return MarsAnswer(*seen, next(rebuilt), next(rebuilt), None)
        dense_rgb, dense_sar = self._join(seen)
        dense = torch.cat([dense_rgb, dense_sar], dim=3).permute(0, 3, 1, 2)
        return MarsAnswer(*seen, self.head_rgb(dense_rgb), self.head_sar(dense_sar), dense)

    def look(self, rgb: Tensor | None, sar: Tensor | None, mask: Tensor | None = None) -> MarsFeatures:
        """Return what is seen without rebuilding anything; arguments as in ``forward``."""
        grid = check_images(rgb, sar, mask)
        rgb_pyramid = None if rgb is None else self.encoder_rgb(fill_nodata("rgb", rgb), mask)
        sar_pyramid = None if sar is None else self.encoder_sar(fill_nodata("sar", sar), mask)
        rgb_tokens = None if rgb_pyramid is None else self.encoder_rgb.normalise(rgb_pyramid[-1])
        sar_tokens = None if sar_pyramid is None else self.encoder_sar.normalise(sar_pyramid[-1])
        return MarsFeatures(rgb_pyramid, sar_pyramid, *self.mma(rgb_tokens, sar_tokens, grid))

    def levels(self, seen: MarsFeatures) -> tuple[Pyramid, Pyramid]:
        """Return four maps of each modality, finest first; those of a missing one are guessed.

        The coarsest are the tokens after the attention between modalities. With ``reference_compat``,
        which guesses nothing, a missing modality's maps are 0.
        """
        given = seen.rgb_pyramid or seen.sar_pyramid
        assert given is not None
        grid = (given[-1].shape[2], given[-1].shape[3])
        sides = (seen.rgb_pyramid, seen.sar_pyramid)
        tokens = (seen.rgb_tokens, seen.sar_tokens)
        coarsest = [torch.zeros_like(given[-1]) if one is None else as_map(one, grid) for one in tokens]
        if None not in sides or self.config.reference_compat:
            finer = ([torch.zeros_like(map_) for map_ in given] if own is None else own for own in sides)
            rgb, sar = ([*own[:3], last] for own, last in zip(finer, coarsest, strict=True))
            return rgb, sar
        if seen.rgb_pyramid is None:
            filled = self.rgb_from_sar(given[:3], *coarsest)
            return filled.missing, [*given[:3], filled.given]
        filled = self.sar_from_rgb(given[:3], *reversed(coarsest))
        return [*given[:3], filled.given], filled.missing

    def densify(self, seen: MarsFeatures) -> Tensor:
        """Return the dense map, (batch, ``dense_width``, height / 4, width / 4), of what was seen.

        Raises:
            InputError: the published network has none.
        """
        if self.config.reference_compat:
            raise InputError("The published MaRS has no dense map; take its pyramid, or a preset of ours.")
        return torch.cat(self._join(seen), dim=3).permute(0, 3, 1, 2)

    def filling_loss(self, answer: MarsAnswer | MarsFeatures) -> Tensor:
        """Return how badly each modality is guessed from the other, where both were seen; a scalar.

        What the encoders learn is not touched by it: they are both question and answer here, and would
        agree soonest on seeing nothing.

        Args:
            answer: to a batch of both modalities.

        Raises:
            InputError: a modality is missing, or the network guesses nothing (``reference_compat``).
        """
        rgb, sar = answer.rgb_pyramid, answer.sar_pyramid
        if rgb is None or sar is None or self.config.reference_compat:
            raise InputError(
                "What a missing modality looks like is learned where both are seen, by presets of ours."
            )
        rgb, sar = ([one.detach() for one in maps] for maps in (rgb, sar))
        grid = (rgb[-1].shape[2], rgb[-1].shape[3])
        truth = [
            [*maps[:3], as_map(tokens.detach(), grid)]
            for maps, tokens in ((rgb, answer.rgb_tokens), (sar, answer.sar_tokens))
            if tokens is not None
        ]
        by_rgb = self.mma(self.encoder_rgb.normalise(rgb[-1]).detach(), None, grid)
        by_sar = self.mma(None, self.encoder_sar.normalise(sar[-1]).detach(), grid)
        errors = [
            error
            for alone in (MarsFeatures(rgb, None, *by_rgb), MarsFeatures(None, sar, *by_sar))
            for guessed, maps in zip(self.levels(alone), truth, strict=True)
            for error in filling_errors(guessed, maps)
        ]
        return torch.stack(errors).mean()

    def _join(self, seen: MarsFeatures) -> tuple[Tensor, Tensor]:
        rgb, sar = self.levels(seen)
        return self.decoder_rgb(rgb), self.decoder_sar(sar)
