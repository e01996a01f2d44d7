"""What MaRS may be given to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from infra.errors import InputError
from models.mars.config import CHANNELS, COARSEST_PX, PATCH_PX


def check_images(rgb: Tensor | None, sar: Tensor | None, mask: Tensor | None = None) -> tuple[int, int]:
    """Refuse images the network cannot look at, by their shapes.

    Args:
        rgb: as the network is given it.
        sar: likewise.
        mask: likewise.

    Returns:
        Rows and columns of the coarsest map.

    Raises:
        InputError: no image, another number of bands, sides that are no multiples of 32, whole numbers,
            modalities that differ in size, or a mask that does not fit.
    """
    given = {name: images for name, images in (("rgb", rgb), ("sar", sar)) if images is not None}
    if not given:
        raise InputError("MaRS was given neither an rgb nor a sar image; give at least one of them.")
    for name, images in given.items():
        _check_shape(name, images)
    sizes = {name: (images.shape[0], *images.shape[2:]) for name, images in given.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"rgb {tuple(sizes['rgb'])} and sar {tuple(sizes['sar'])} differ in (batch, height, width); cut "
            "both from the same grid."
        )
    batch, height, width = next(iter(sizes.values()))
    if mask is not None:
        _check_mask(mask, (batch, height // PATCH_PX, width // PATCH_PX))
    return height // COARSEST_PX, width // COARSEST_PX


def _check_shape(name: str, images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != CHANNELS[name] or 0 in images.shape:
        raise InputError(
            f"{name} has the shape {tuple(images.shape)}; expected (batch, {CHANNELS[name]}, height, width)."
        )
    height, width = images.shape[2:]
    if height % COARSEST_PX or width % COARSEST_PX:
        raise InputError(
            f"{name} is {height} px high, {width} px wide; expected multiples of {COARSEST_PX}; pad it."
        )
    if not images.is_floating_point():
        raise InputError(f"{name} holds {images.dtype}; expected standardised numbers, float32.")


def _check_mask(mask: Tensor, shape: tuple[int, ...]) -> None:
    # Whole numbers are refused because "not" of them is no 0 or 1: that is how the released code leaks.
    if mask.dtype != torch.bool or tuple(mask.shape) != shape:
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} and type {mask.dtype} was given; expected {shape}, bool."
        )


def fill_nodata(name: str, images: Tensor) -> Tensor:
    """Return standardised images with 0, their mean, where they are NaN or infinite.

    Args:
        name: of the modality.
        images: (batch, channels, height, width).

    Raises:
        InputError: a chip holds no number at all. Looked for on the CPU only: on an accelerator the answer
            would have to be waited for.
    """
    if images.device.type == "cpu" and not torch.compiler.is_compiling():
        finite = images.isfinite().flatten(1)
        if bool(finite.all()):
            return images
        empty = ~finite.any(dim=1)
        if bool(empty.any()):
            raise InputError(
                f"Chip {int(empty.nonzero()[0])} of {len(images)} has no finite {name} pixel; leave it out, "
                "or give None for the modality."
            )
    return images.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
