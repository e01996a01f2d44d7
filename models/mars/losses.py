"""What MaRS learns by: contrast at three granularities, masked reconstruction, a teacher's features.

Everything here is computed in float32 or better, also under autocast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from infra.errors import InputError
from models.mars.contrast import TABLE_NUMBERS, Choice, at_least_float32, contrast_rows, gather_shares

_TINY = 1e-5  # of the published denominator


@dataclass(frozen=True, kw_only=True)
class ContrastConfig:
    """Weights and temperatures of the three granularities, and how many similarities are held at a time."""

    patch: float = 0.5
    image: float = 0.3
    hierarchical: float = 0.2
    patch_temperature: float = 0.1
    image_temperature: float = 0.05
    hierarchical_temperature: float = 0.07
    table: int = TABLE_NUMBERS


@dataclass(frozen=True)
class ContrastParts:
    """The contrast's scalars: each granularity, and their weighted sum."""

    patch: Tensor
    image: Tensor
    hierarchical: Tensor
    total: Tensor


_DEFAULT = ContrastConfig()


def cross_granularity_loss(
    rgb: Tensor,
    sar: Tensor,
    config: ContrastConfig = _DEFAULT,
    *,
    valid: Tensor | None = None,
    gather: bool = False,
) -> ContrastParts:
    """Return how well patches and images of one modality find their own in the other, both ways.

    Patch: a patch among all patches of the batch. Image: an image's mean among all images' means.
    Hierarchical: a patch among all images' means, where its own image is the right one.

    Args:
        rgb: (batch, tokens, width), any float.
        sar: likewise, of the same places.
        config: weights and temperatures.
        valid: bool (batch, tokens), where both show something; the other patches are neither asked nor
            offered, and no part of their image's mean. None for all.
        gather: candidates come from all processes' batches; every process must call this then.

    Raises:
        InputError: the two do not have one shape (batch, tokens, width), or ``valid`` does not fit it.

    Source: MaRS, AAAI 2026, 40(14):11685-11693, cross-granularity contrastive learning. The released code
    takes an image's number for the column of a patch; here the columns are images, as the paper writes.
    """
    if rgb.ndim != 3 or rgb.shape != sar.shape:
        raise InputError(
            f"Tokens of shapes {tuple(rgb.shape)} and {tuple(sar.shape)} cannot be contrasted; expected one "
            "shape (batch, tokens, width)."
        )
    shown = torch.ones(rgb.shape[:2], dtype=torch.bool, device=rgb.device) if valid is None else valid
    if shown.shape != rgb.shape[:2] or shown.dtype != torch.bool:
        raise InputError(
            f"Where tokens of shape {tuple(rgb.shape)} are valid is told in shape {tuple(shown.shape)}, "
            f"{shown.dtype}; expected booleans (batch, tokens)."
        )
    with torch.autocast(rgb.device.type, enabled=False):
        sides = [_Side.of(tokens, shown, gather=gather) for tokens in (rgb, sar)]
        first, second = sides
        ways = (_one_way(first, second, config), _one_way(second, first, config))
        patch, image, hierarchical = (sum_ / 2 for sum_ in (a + b for a, b in zip(*ways, strict=True)))
        total = config.patch * patch + config.image * image + config.hierarchical * hierarchical
    return ContrastParts(patch, image.to(patch.dtype), hierarchical, total.to(patch.dtype))


@dataclass(frozen=True)
class _Side:
    """One modality's unit vectors: this process's, and everybody's.

    Attributes:
        patches: (batch × tokens, width).
        images: float64 (batch, width).
        all_patches: (all images × tokens, width).
        all_images: float64 (all images, width).
        shown: bool (all images, tokens), the patches that show something.
        first: row of ``all_images`` at which this process's begin.
    """

    patches: Tensor
    images: Tensor
    all_patches: Tensor
    all_images: Tensor
    shown: Tensor
    first: int

    @classmethod
    def of(cls, tokens: Tensor, valid: Tensor, *, gather: bool) -> _Side:
        unit = F.normalize(at_least_float32(tokens), dim=-1)
        everybody, first = gather_shares(unit) if gather else (unit, 0)
        shown = gather_shares(valid.to(unit.dtype))[0] > 0 if gather else valid
        # Few numbers, divided by the smallest temperature: float32 would show in the sixth digit.
        images = F.normalize(torch.where(shown[..., None], everybody.double(), 0.0).sum(dim=1), dim=-1)
        own = images[first : first + len(unit)]
        return cls(unit.flatten(0, 1), own, everybody.flatten(0, 1), images, shown, first)


def _one_way(queries: _Side, keys: _Side, config: ContrastConfig) -> tuple[Tensor, Tensor, Tensor]:
    device = queries.patches.device
    image = torch.arange(len(queries.images), device=device) + queries.first
    tokens = len(queries.patches) // len(queries.images)
    patch = torch.arange(len(queries.patches), device=device) + queries.first * tokens
    table = config.table
    patches_shown, images_shown = keys.shown.flatten(), keys.shown.any(dim=1)
    processes = len(keys.all_images) / len(keys.images)
    all_patches, all_images = (shown.sum().double() / processes for shown in (patches_shown, images_shown))
    return (
        contrast_rows(
            queries.patches,
            keys.all_patches,
            patch,
            temperature=config.patch_temperature,
            choice=Choice(patches_shown[patch], patches_shown, all_patches),
            table=table,
        ),
        contrast_rows(
            queries.images,
            keys.all_images,
            image,
            temperature=config.image_temperature,
            choice=Choice(images_shown[image], images_shown, all_images),
            table=table,
        ),
        contrast_rows(
            queries.patches,
            keys.all_images.to(queries.patches.dtype),
            image.repeat_interleave(tokens),
            temperature=config.hierarchical_temperature,
            choice=Choice(patches_shown[patch], images_shown, all_patches),
            table=table,
        ),
    )


def reconstruction_loss(image: Tensor, rebuilt: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean absolute error over hidden pixels, per channel.

    Args:
        image: (batch, channels, height, width), standardised.
        rebuilt: likewise.
        mask: bool (batch, height/k, width/k), k a whole number; True where the image was hidden.
        valid: bool (batch, 1, height, width); pixels without data do not count. None for all.

    Raises:
        InputError: shapes that do not fit.
    """
    if image.ndim != 4 or image.shape != rebuilt.shape:
        raise InputError(
            f"An image of shape {tuple(image.shape)} cannot be compared with one of {tuple(rebuilt.shape)}; "
            "expected one shape (batch, channels, height, width)."
        )
    with torch.autocast(image.device.type, enabled=False):
        hidden = hidden_pixels(mask, (image.shape[2], image.shape[3]))
        if valid is not None:
            hidden = hidden & valid
        # Pixels without data may hold NaN: they are left out, not multiplied by 0.
        error = (at_least_float32(image) - at_least_float32(rebuilt)).abs()
        error = torch.where(hidden, error, 0.0)
        return error.sum() / (hidden.sum() + _TINY) / image.shape[1]


def hidden_pixels(mask: Tensor, shape_yx: tuple[int, int]) -> Tensor:
    """Spread a mask of cells over pixels: bool (batch, 1, height, width).

    Raises:
        InputError: the cells are not squares of whole pixels, or the mask is not of booleans.
    """
    height, width = shape_yx
    fits = mask.ndim == 3 and mask.dtype == torch.bool and min(mask.shape) > 0
    cell = height // mask.shape[1] if fits else 0
    if not fits or (mask.shape[1] * cell, mask.shape[2] * cell) != (height, width):
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} and type {mask.dtype} does not fit {height}×{width} "
            "pixels; expected booleans (batch, height/k, width/k)."
        )
    return mask.repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)[:, None]


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return minus the mean cosine between student's and teacher's features, token by token.

    Args:
        student: (batch, tokens, width).
        teacher: likewise; no gradient goes there.

    Raises:
        InputError: the two do not have one shape.
    """
    if student.ndim != 3 or student.shape != teacher.shape:
        raise InputError(
            f"A student's tokens of shape {tuple(student.shape)} cannot follow a teacher's of "
            f"{tuple(teacher.shape)}; expected one shape (batch, tokens, width)."
        )
    with torch.autocast(student.device.type, enabled=False):
        return -F.cosine_similarity(
            at_least_float32(student), at_least_float32(teacher.detach()), dim=-1
        ).mean()
