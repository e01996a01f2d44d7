"""What another kind of sensor or a draughtsman would have made of an image, guessed from its pixels.

Every look is a frozen dataclass: its fields are the ranges its strengths are drawn from, and calling it
turns images (samples, 1 or 3 channels, height, width), 0 to 1, into grey ones (samples, 1, height, width),
0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from models.modality.draws import Draws, Range
from models.modality.fields import (
    bend,
    blend_grey,
    blur_slightly,
    draw_curve,
    draw_field,
    look_up,
    neighbours_max,
    normal_threshold,
    slopes,
    smooth,
    standardise,
    steepness,
    to_unit,
)

_FULL_TURN = 2 * torch.pi


@dataclass(frozen=True)
class Plain:
    """The image itself, its channels blended by random weights, as panchromatic cameras differ."""

    weight: Range = (0.1, 1.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        return blend_grey(image, draws.uniform(self.weight, image.shape[1]))


@dataclass(frozen=True)
class FlatMap:
    """A drawn map: few flat tones, lines where ridges and borders are, some of them missing.

    Attributes:
        line_width_chance: how often lines are 3 pixels wide instead of 1.
        outlines: how often areas are outlined.
        drawn: which part of the lines is drawn, by area.
        clutter: how many pixels in a thousand start a mark that stands for nothing on the ground.
        tones: how many levels of brightness become areas of their own.
    """

    line_width_chance: float = 0.5
    outlines: float = 0.4
    drawn: Range = (0.5, 1.0)
    clutter: Range = (0.0, 0.4)
    tones: int = 6

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        grey = blend_grey(image)
        calm = smooth(grey, 4)
        areas = self._areas(image, calm, draws)
        ridges = standardise(blur_slightly(grey) - calm)
        edge = (areas != areas.roll(1, -1)) | (areas != areas.roll(1, -2))
        return self._ink(areas, ridges, edge.float(), draws)

    def _areas(self, image: Tensor, calm: Tensor, draws: Draws) -> Tensor:
        """Fill regions of alike brightness and hue with one pale tone each."""
        hue = smooth(image[:, :1] - image[:, -1:], 4) if image.shape[1] == 3 else smooth(calm, 8)
        levels = (to_unit(calm) * (self.tones - 0.01)).floor()
        code = levels + self.tones * (to_unit(hue) > draws.uniform((0.4, 0.6))).float()
        return look_up(code, draws.table((0.55, 1.0), 2 * self.tones))

    def _ink(self, areas: Tensor, ridges: Tensor, edge: Tensor, draws: Draws) -> Tensor:
        """Draw roads on bright ridges, blocks on dark ones, borders and clutter; a part is left out."""
        shape = (areas.shape[-2], areas.shape[-1])
        kept = (draw_field(draws, shape, 4) < 2 * draws.uniform(self.drawn) - 0.5).float()
        wide = draws.chance(self.line_width_chance)
        roads = (ridges > draws.uniform((0.9, 1.6))).float() * kept
        roads = torch.lerp(roads, neighbours_max(roads), wide)
        blocks = (ridges < -draws.uniform((1.0, 1.8))).float() * draws.chance(0.6)
        marks = (draws.normal(1, *shape) > normal_threshold(draws.uniform(self.clutter) / 1000)).float()
        marks = neighbours_max(neighbours_max(marks))
        page = areas
        for layer, tones in (
            (blocks, (0.4, 0.8)),
            (edge * kept * draws.chance(self.outlines), (0.3, 0.9)),
            (roads, (0.5, 1.0)),
            (marks, (0.0, 0.4)),
        ):
            page = torch.lerp(page, draws.uniform(tones).expand_as(page), layer)
        return page


@dataclass(frozen=True)
class Sar:
    """Radar: areas told apart by roughness, bright sides facing the beam, speckle, logarithm.

    Attributes:
        looks: how many looks were averaged; fewer give coarser speckle.
        contrast: how far apart smooth areas lie, in the logarithm.
        roughness: how much texture brightens.
        facing: how much slopes towards the beam brighten.
        layover_px: how far bright edges lean towards the beam.
    """

    looks: Range = (1.0, 12.0)
    contrast: Range = (0.2, 0.8)
    roughness: Range = (0.1, 0.9)
    facing: Range = (0.2, 1.2)
    layover_px: Range = (0.0, 4.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        grey = blend_grey(image, draws.uniform((0.1, 1.0), image.shape[1]))
        soft = blur_slightly(grey)
        rough = smooth((grey - smooth(grey, 4)).abs(), 3)
        redrawn = bend(to_unit(soft), draw_curve(draws, 6))
        shape = (grey.shape[-2], grey.shape[-1])
        level = draws.uniform(self.contrast) * (standardise(redrawn) + 0.4 * draw_field(draws, shape, 4))
        level = level + draws.uniform(self.roughness) * standardise(rough)
        level = level + draws.uniform(self.facing) * self._lit_edges(soft, draws)
        return self._receive(level, draws)

    def _lit_edges(self, soft: Tensor, draws: Draws) -> Tensor:
        """Return slopes that face the beam, sheared towards it, 0 to about 3."""
        azimuth = draws.uniform((0.0, _FULL_TURN))
        along_x, along_y = slopes(soft)
        facing = along_x * azimuth.cos() + along_y * azimuth.sin()
        lit = (facing / (2 * facing.std(dim=(1, 2, 3), keepdim=True, correction=0) + 1e-6)).clamp(0, 3)
        lean = draws.uniform(self.layover_px)
        return torch.maximum(lit, shift_image(lit, azimuth.cos() * lean, azimuth.sin() * lean))

    def _receive(self, level: Tensor, draws: Draws) -> Tensor:
        """Add speckle to log intensity and show it as logarithm or as amplitude."""
        speckle = draw_log_speckle(draws, (level.shape[-2], level.shape[-1]), draws.uniform(self.looks))
        blurred = torch.lerp(speckle, 1.6 * blur_slightly(speckle), draws.chance(0.5))
        received = level.clamp(-3, 3) + blurred
        shown = torch.where(draws.chance(0.6) > 0, received, (0.5 * received).exp())
        return to_unit(shown)


@dataclass(frozen=True)
class Infrared:
    """Infrared: other tones altogether, in places the other way round, a little blurred.

    Attributes:
        bends: how many straight pieces the tone curve has.
        turned: how often some areas are inverted and others not.
    """

    bends: int = 4
    turned: float = 0.4

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        grey = to_unit(blend_grey(image, draws.uniform((0.05, 1.0), image.shape[1])))
        tone = bend(grey, draw_curve(draws, self.bends + 1))
        shape = (grey.shape[-2], grey.shape[-1])
        turn = draws.chance(self.turned) * torch.sigmoid(8 * draw_field(draws, shape, 3))
        mixed = torch.lerp(tone, 1 - tone, turn)
        return torch.lerp(mixed, smooth(mixed, 2), draws.chance(0.5))


@dataclass(frozen=True)
class Relief:
    """Height or depth: calm areas at levels of their own, a tilted ground, sometimes shaded from a side.

    Attributes:
        tilt: how much of the range the ground's slope takes.
        shade: how much of the picture is light and shade instead of height.
    """

    tilt: Range = (0.0, 0.35)
    shade: Range = (0.0, 1.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        grey = blend_grey(image)
        shape = (grey.shape[-2], grey.shape[-1])
        calm = blur_slightly(torch.lerp(smooth(grey, 3), blur_slightly(grey), draws.uniform((0.2, 0.9))))
        height = standardise(bend(to_unit(calm), draw_curve(draws, 5)))
        height = height + draw_field(draws, shape, 2) * 2 * draws.uniform(self.tilt)
        light = draws.uniform((0.0, _FULL_TURN))
        along_x, along_y = slopes(height)
        shaded = standardise(along_x * light.cos() + along_y * light.sin()).clamp(-3, 3)
        part = draws.uniform(self.shade) * draws.chance(0.5)
        return to_unit(torch.lerp(standardise(height), shaded, part))


@dataclass(frozen=True)
class Edges:
    """A line drawing: slopes only, dark on bright or bright on dark."""

    softness: Range = (0.4, 1.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        drawn = steepness(blur_slightly(blend_grey(image)))
        strength = (drawn / (3 * drawn.mean(dim=(1, 2, 3), keepdim=True) + 1e-6)).clamp(0, 1)
        lines = strength ** draws.uniform(self.softness)
        return torch.where(draws.chance(0.5) > 0, lines, 1 - lines)


@dataclass(frozen=True)
class FewColours:
    """A picture of few colours, their order kept or thrown about."""

    levels: Range = (3.0, 9.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        calm = to_unit(blur_slightly(blend_grey(image, draws.uniform((0.1, 1.0), image.shape[1]))))
        levels = draws.uniform(self.levels).floor()
        code = (calm * levels).floor().minimum(levels - 1)
        thrown = look_up(code, draws.table((0.0, 1.0), int(self.levels[1]) + 1))
        return torch.where(draws.chance(0.5) > 0, code / (levels - 1), thrown)


@dataclass(frozen=True)
class Season:
    """Another time of the year: tones change by hue, texture fades, snow lies on what is flat.

    Attributes:
        texture: which part of the fine texture stays.
        snow: how bright snow makes calm areas.
    """

    texture: Range = (0.3, 1.2)
    snow: Range = (0.2, 0.9)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        grey = to_unit(blend_grey(image))
        hue = (
            smooth(image[:, 1:2] - (image[:, :1] + image[:, -1:]) / 2, 2)
            if image.shape[1] == 3
            else smooth(grey, 6)
        )
        green = torch.sigmoid(2 * standardise(hue))
        tone = torch.lerp(bend(grey, draw_curve(draws, 4)), bend(grey, draw_curve(draws, 4)), green)
        tone = torch.lerp(tone, grey, draws.uniform((0.0, 0.6)))
        calm = smooth(tone, 4)
        tone = calm + (tone - calm) * draws.uniform(self.texture)
        shape = (grey.shape[-2], grey.shape[-1])
        flat = torch.exp(-12 * smooth((grey - smooth(grey, 3)).abs(), 3))
        lies = (
            draws.chance(0.35)
            * draws.uniform(self.snow)
            * flat
            * torch.sigmoid(1 + 2 * draw_field(draws, shape, 3))
        )
        return torch.lerp(tone, torch.full_like(tone, 0.95), lies).clamp(0, 1)


@dataclass(frozen=True)
class Night:
    """Night: dark ground with grain, and lights in some bright places with a glow around.

    Attributes:
        ground: how bright the ground still is.
        lights: how many pixels in a thousand shine where light is likely.
        grain: deviation of the noise.
    """

    ground: Range = (0.15, 0.6)
    lights: Range = (1.0, 8.0)
    grain: Range = (0.01, 0.08)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images in this look."""
        grey = to_unit(blend_grey(image))
        shape = (grey.shape[-2], grey.shape[-1])
        likely = torch.relu(standardise(steepness(grey))).clamp(max=3) + 2 * (grey > 0.85).float()
        town = torch.sigmoid(2 * draw_field(draws, shape, 4))
        lit = (draws.even(1, *shape) < draws.uniform(self.lights) / 1000 * likely * town).float()
        glow = neighbours_max(lit) + 12 * smooth(lit, 3) + 20 * smooth(lit, 10)
        dark = draws.uniform(self.ground) * smooth_or_sharp(grey, draws)
        return (dark + glow + draws.uniform(self.grain) * draws.normal(1, *shape)).clamp(0, 1)


def smooth_or_sharp(image: Tensor, draws: Draws) -> Tensor:
    """Blur some samples by 2 pixels."""
    return torch.lerp(image, smooth(image, 2), draws.chance(0.5))


def shift_image(image: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
    """Move images by pixels of their own, (samples, 1, 1, 1) each; the border repeats."""
    height, width = image.shape[-2:]
    matrix = torch.eye(2, 3, device=image.device).repeat(len(image), 1, 1)
    matrix[:, 0, 2] = -2 * along_x.flatten() / width
    matrix[:, 1, 2] = -2 * along_y.flatten() / height
    grid = affine_grid(matrix, [len(image), 1, height, width], align_corners=False)
    return grid_sample(image, grid, padding_mode="border", align_corners=False)


def draw_log_speckle(draws: Draws, shape: tuple[int, int], looks: Tensor) -> Tensor:
    """Return the logarithm of multiplicative speckle of mean 1, (samples, 1, height, width).

    Gamma draws of shape L come from normal ones by the cube approximation, good from L = 1 up.

    Source: Wilson & Hilferty, The distribution of chi-square, PNAS 17 (1931).
    """
    part = 1 / (9 * looks)
    cube = (1 - part + draws.normal(1, *shape) * part.sqrt()).clamp(min=0.05)
    return 3 * cube.log()
