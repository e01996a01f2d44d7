"""Training pairs of known truth: crops of aligned images, looked at differently and warped apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from infra.errors import InputError
from models.matching.transforms import Transform, invert, similarity
from models.matching.warps import LEVELS, LevelName, draw_warp
from models.modality.draws import Draws, Range
from models.modality.looks import disturb, put_on

_SINGLE_LOOKS = {
    "plain": 1.0, "map": 2.0, "sar": 2.5, "infrared": 2.0, "relief": 1.5,
    "edges": 0.5, "few-colours": 0.7, "season": 1.2, "night": 1.0,
}  # fmt: skip
_PAIR_LOOKS = {"plain": 10.0, "sar": 1.0, "infrared": 1.0, "season": 1.0, "relief": 0.5, "map": 0.5}
_CHANCES = {
    "gamma": 0.3, "uneven-contrast": 0.3, "clouds": 0.08, "occlusion": 0.1,
    "blur": 0.2, "noise": 0.25, "blocks": 0.25,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """How pairs are drawn.

    Attributes:
        zoom: source pixels per pixel of the fixed crop, narrowed to what fits into the source.
        upright: how often the crop is not turned by an odd angle (quarter turns and mirroring always may be).
        framed: how often the moving image ends where the fixed one does, as when one image is warped;
            else it shows what the source has beyond.
        perspective: up to this part of the side is each corner of the moving image moved by perspective.
        swapped: how often fixed and moving change places.
        single_looks: weights of the looks for the moving image when one image makes both sides.
        plain_fixed: how often the fixed image keeps its own look then.
        pair_looks: weights of the looks of either side when two real sensors are given.
        chances: of each disturbance, per side.
    """

    zoom: Range = (0.6, 1.6)
    upright: float = 0.5
    framed: float = 0.6
    perspective: float = 0.0
    swapped: float = 0.5
    plain_fixed: float = 0.7
    single_looks: Mapping[str, float] = field(default_factory=lambda: dict(_SINGLE_LOOKS))
    pair_looks: Mapping[str, float] = field(default_factory=lambda: dict(_PAIR_LOOKS))
    chances: Mapping[str, float] = field(default_factory=lambda: dict(_CHANCES))


@dataclass(frozen=True)
class TrainingPairs:
    """A batch of image pairs and the truth about them. Pixel centres lie at whole numbers, (x, y).

    Attributes:
        fixed: float32 (batch, 1, size, size), grey, 0 to 1, 0 where not valid; stretched as
            ``models.matching.images.prepare_image`` does.
        moving: likewise.
        fixed_from_moving: float64 (batch, 3, 3) on column vectors, pixels.
        fixed_valid: bool (batch, 1, size, size).
        moving_valid: likewise.
    """

    fixed: Tensor
    moving: Tensor
    fixed_from_moving: Tensor
    fixed_valid: Tensor
    moving_valid: Tensor

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.fixed)


_DEFAULT = PairConfig()
_RANKED_SIDE = 80
_SLACK = 1e-5  # float32 puts a border pixel a hair outside


def make_pairs(
    fixed: Tensor,
    moving: Tensor | None,
    *,
    level: LevelName,
    generator: np.random.Generator,
    size: int,
    config: PairConfig = _DEFAULT,
) -> TrainingPairs:
    """Cut, look at differently and warp apart one pair from each source.

    The same generator state gives the same pairs, and a batch gives the same as its sources one by one; for
    training that resumes, start it from ``(seed, step)``.

    Args:
        fixed: (batch, 1 or 3, height, width), any float, 0 to 1; a pixel with NaN in any channel is nodata.
            The pairs are made on its device.
        moving: another sensor's image of the same places on the same grid, likewise; None when one image
            is all there is.
        level: how far the two sides are warped apart.
        generator: where all randomness comes from.
        size: pixels of the square results, at least 16; the sources had better be larger.
        config: chances and ranges.

    Raises:
        InputError: a level that is not known, a size below 16, or sources of shapes that do not fit.
    """
    moving = _check(fixed, moving, level, size)
    draws = Draws.start(generator, len(fixed), fixed.device)
    single = moving is None
    first, second = _swap(
        fixed.float(), fixed.float() if moving is None else moving.float(), draws, config.swapped
    )
    views = [_draw_view(s, (fixed.shape[2], fixed.shape[3]), level, size, config) for s in draws.numbers]
    fixed_view, fixed_valid = _sample(first, [view.source_from_fixed for view in views], size)
    moving_view, moving_valid = _sample(second, [view.source_from_moving for view in views], size)
    moving_valid &= _frames(views, size, fixed.device)
    fixed_look = _draw_looks(draws, config, single=single, plain=config.plain_fixed)
    moving_look = _draw_looks(draws, config, single=single, plain=0.0)
    return TrainingPairs(
        _finish(fixed_view, fixed_valid, fixed_look, draws, config),
        _finish(moving_view, moving_valid, moving_look, draws, config),
        torch.from_numpy(np.stack([view.fixed_from_moving for view in views])).to(fixed.device),
        fixed_valid,
        moving_valid,
    )


def stretch_valid(images: Tensor, valid: Tensor) -> Tensor:
    """Put the middle 98 % of each image's valid values onto 0..1; invalid pixels and constants become 0.

    It is ``prepare_image``'s stretch for a batch; of images above 160 pixels only every second, third
    … pixel of as many rows is ranked, which moves the ends by little.

    Args:
        images: float32 (batch, 1, height, width).
        valid: bool, likewise.
    """
    step = max(images.shape[-1] // _RANKED_SIDE, 1)
    ranked = images.masked_fill(~valid, torch.inf)[..., ::step, ::step].flatten(1).sort(dim=1).values
    count = valid[..., ::step, ::step].flatten(1).sum(1, keepdim=True)
    ends = []
    for part in (0.01, 0.99):
        place = part * (count - 1).clamp(min=0)
        below = ranked.gather(1, place.floor().long())
        above = ranked.gather(1, place.ceil().long())
        ends.append(torch.lerp(below, above, (place - place.floor()).float()))
    low, high = (end[..., None, None] for end in ends)
    stretched = ((images - low) / (high - low)).clamp(0, 1)
    return torch.where(valid & (high > low), stretched, 0.0)


@dataclass(frozen=True)
class _View:
    """Where the two sides of one pair look in their source."""

    source_from_fixed: Transform
    fixed_from_moving: Transform
    framed: bool

    @property
    def source_from_moving(self) -> Transform:
        return self.source_from_fixed @ self.fixed_from_moving


def _draw_view(
    stream: np.random.Generator, shape: tuple[int, int], level: LevelName, size: int, config: PairConfig
) -> _View:
    source_from_fixed = _draw_crop(stream, shape, size, config)
    warp = draw_warp(LEVELS[level], (size, size), stream)
    warp = _draw_perspective(stream, size, config.perspective) @ warp
    return _View(source_from_fixed, invert(warp), bool(stream.uniform() < config.framed))


def _draw_crop(
    stream: np.random.Generator, shape: tuple[int, int], size: int, config: PairConfig
) -> Transform:
    """Draw a square within the source: anywhere, turned, of some zoom, perhaps mirrored."""
    height, width = shape
    odd = 0.0 if stream.uniform() < config.upright else stream.uniform(-45, 45)
    turn = odd + 90 * stream.integers(4)
    spread = abs(math.cos(math.radians(turn))) + abs(math.sin(math.radians(turn)))  # of its bounding box
    widest = (min(height, width) - 1) / ((size - 1) * spread)
    zoom = stream.uniform(min(config.zoom[0], widest), min(config.zoom[1], widest))
    room = np.array([width - 1, height - 1]) - zoom * (size - 1) * spread
    middle = np.array([width - 1, height - 1]) / 2 + stream.uniform(-0.5, 0.5, 2) * np.maximum(room, 0)
    half = (size - 1) / 2
    crop = similarity(
        rotation_deg=turn, scale=zoom, centre=(half, half), shift=(middle[0] - half, middle[1] - half)
    )
    mirror = np.array([[-1.0, 0, size - 1.0], [0, 1, 0], [0, 0, 1]])
    return crop @ mirror if stream.uniform() < 0.5 else crop


def _draw_perspective(stream: np.random.Generator, size: int, most: float) -> Transform:
    """Draw a tilt about the middle that moves corners by up to a part of the side."""
    half = (size - 1) / 2
    along_x, along_y = stream.uniform(-1, 1, 2) * most / half
    to_middle = np.array([[1.0, 0, -half], [0, 1, -half], [0, 0, 1]])
    tilt = np.array([[1.0, 0, 0], [0, 1, 0], [along_x / 2, along_y / 2, 1]])
    moved: Transform = invert(to_middle) @ tilt @ to_middle
    return moved


def _look_through(
    targets: list[Transform], size: int, ends: tuple[float, float], device: torch.device
) -> Tensor:
    """Return where each pixel of the views lies in the targets, float32 (batch, 2, size, size).

    The first of the two is x, the second y; −1 is the first pixel's centre, 1 the last one's (``ends``).
    """
    right, bottom = (max(end, 1.0) for end in ends)
    unit = np.array([[2 / right, 0, -1], [0, 2 / bottom, -1], [0, 0, 1]])
    rows = torch.from_numpy(np.stack([unit @ target for target in targets])).to(device, torch.float32)
    steps = torch.arange(size, device=device, dtype=torch.float32)
    across, down, start = (part[..., None, None] for part in rows.unbind(-1))
    x, y, w = (across * steps + (down * steps[:, None] + start)).unbind(1)
    return torch.stack([x / w, y / w], 1)


def _sample(source: Tensor, targets: list[Transform], size: int) -> tuple[Tensor, Tensor]:
    """Cut the views out of the sources; beyond a source its border repeats, so that looks see no edge."""
    height, width = source.shape[-2:]
    place = _look_through(targets, size, (width - 1.0, height - 1.0), source.device)
    inside = place.abs().amax(1, keepdim=True) <= 1 + _SLACK
    grid = place.permute(0, 2, 3, 1).contiguous()
    if not bool(source.sum().isfinite()):
        finite = source.isfinite().all(1, keepdim=True)
        source = torch.where(finite, source, 0.0)
        seen = grid_sample(finite.float(), grid, padding_mode="border", align_corners=True)
        inside &= seen > 1 - 1e-3
    return grid_sample(source, grid, padding_mode="border", align_corners=True), inside


def _frames(views: list[_View], size: int, device: torch.device) -> Tensor:
    """Return what of the moving images lies within the fixed ones where the pair is framed, else all."""
    place = _look_through([view.fixed_from_moving for view in views], size, (size - 1.0, size - 1.0), device)
    free = torch.tensor([0.0 if view.framed else torch.inf for view in views], device=device)
    return place.abs().amax(1, keepdim=True) <= 1 + _SLACK + free[:, None, None, None]


def _swap(first: Tensor, second: Tensor, draws: Draws, chance: float) -> tuple[Tensor, Tensor]:
    """Exchange some samples; a grey side is given three channels when the other has them."""
    channels = max(first.shape[1], second.shape[1])
    first, second = (t.expand(-1, channels, -1, -1) for t in (first, second))
    turned = draws.chance(chance) > 0
    if first is second:
        return first, second
    return torch.where(turned, second, first), torch.where(turned, first, second)


def _draw_looks(draws: Draws, config: PairConfig, *, single: bool, plain: float) -> list[str]:
    weights = config.single_looks if single else config.pair_looks
    names = draws.pick(weights)
    if not single:
        return names
    kept = [bool(stream.uniform() < plain) for stream in draws.numbers]
    return ["plain" if keep else name for keep, name in zip(kept, names, strict=True)]


def _finish(view: Tensor, valid: Tensor, looks: list[str], draws: Draws, config: PairConfig) -> Tensor:
    worn = put_on(view, looks, draws)
    return stretch_valid(disturb(worn, config.chances, draws), valid)


def _check(fixed: Tensor, moving: Tensor | None, level: str, size: int) -> Tensor | None:
    if level not in LEVELS:
        raise InputError(f"A level is called {level!r}; expected one of {', '.join(LEVELS)}.")
    if size < 16:
        raise InputError(f"Training pairs of {size} pixels are asked for; expected at least 16.")
    for side in (fixed, fixed if moving is None else moving):
        if (
            side.ndim != 4
            or side.shape[1] not in (1, 3)
            or min(side.shape) < 1
            or not side.is_floating_point()
        ):
            raise InputError(
                f"A source of shape {tuple(side.shape)} and type {side.dtype} makes no training pairs; "
                "expected floats (batch, 1 or 3, height, width)."
            )
        if side.shape[0] != fixed.shape[0] or side.shape[2:] != fixed.shape[2:]:
            raise InputError(
                f"Sources of shapes {tuple(fixed.shape)} and {tuple(side.shape)} are not on one grid."
            )
    return moving
