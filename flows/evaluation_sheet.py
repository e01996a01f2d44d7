"""Draw what a matcher found: tie points as lines, and both images as a checkerboard before and after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.matching.cases import KnownPair, MatchingCase, prepare_case
from models.matching.evaluation import Evaluation, PairResult, summarise
from models.matching.images import prepare_image
from models.matching.transforms import Transform, warp_image

MAX_PAIRS = 60
"""Most pairs on a sheet; a set may hold thousands."""

_LONGEST = 300
"""Of a picture, pixels."""
_GAP, _MARGIN = 8, 22
_CAPTION, _TITLE = 42, 92
_SMOOTH = 2
"""Lines are drawn this much larger, then shrunk: no steps."""
_SQUARES = 7
_MOST_LINES = {True: 60, False: 25}
_PAPER, _INK, _FAINT, _BLANK = "#ffffff", "#1d2530", "#6a7482", "#eceff3"
_LINES = {True: "#19d3a2", False: "#ff7a45"}
"""Tie points that fit, and that do not."""
_VERDICTS = ("#0f8a5f", "#6b8e00", "#b87800", "#c0392b")
"""Within the first, second, third tolerance; beyond."""

Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3)."""
Box: TypeAlias = tuple[int, int]
"""Width and height, pixels."""


@dataclass(frozen=True)
class _View:
    """An image fitted into the middle of a box.

    Attributes:
        picture: of the box's size.
        scale: drawing pixels for one of the image's.
        corner: where the image begins in the box.
    """

    picture: Image.Image
    scale: float
    corner: tuple[int, int]


def draw_sheet(pairs: Iterable[KnownPair], evaluation: Evaluation) -> Image.Image:
    """Draw the pairs of an evaluation, up to :data:`MAX_PAIRS`.

    Args:
        pairs: the pairs that were evaluated, in the same order.
        evaluation: what a matcher made of them.
    """
    cells = [
        _draw_pair(prepare_case(pair, evaluation.protocol), result, evaluation)
        for result, pair in zip(evaluation.results[:MAX_PAIRS], pairs, strict=False)
    ]
    across = 2 if len(cells) > 3 else 1
    rows = list(zip_longest(*[iter(cells)] * across))
    heights = [max(cell.height for cell in row if cell is not None) for row in rows]
    column = cells[0].width + 2 * _MARGIN
    sheet = Image.new("RGB", (across * column, _TITLE + sum(heights) + _MARGIN), _PAPER)
    _write_title(ImageDraw.Draw(sheet), evaluation, len(cells))
    for number, row in enumerate(rows):
        for along, cell in enumerate(cell for cell in row if cell is not None):
            sheet.paste(cell, (_MARGIN + along * column, _TITLE + sum(heights[:number])))
    return sheet


def _write_title(draw: ImageDraw.ImageDraw, evaluation: Evaluation, shown: int) -> None:
    protocol, total = evaluation.protocol, len(evaluation.results)
    counts = summarise(evaluation)["success_at_px"].items()
    success = ", ".join(f"{count} within {limit} px" for limit, count in counts)
    title = f"{evaluation.matcher}, level {protocol.level}: of {total} pairs {success}"
    draw.text((_MARGIN, 16), title, _INK, font=_font(26))
    x = _MARGIN
    for fits, words in ((True, "tie points that fit"), (False, "that do not fit")):
        draw.line([(x, 67), (x + 22, 67)], _LINES[fits], 4)
        x = _write(draw, (x + 30, 58), f"{words} the {protocol.estimators[0].kind}", _FAINT, 16) + 22
    layout = "Fixed image, moving image; squares of both in turns, before and after"
    part = "" if shown == total else f". The first {shown} pairs"
    _write(draw, (x, 58), f"{layout}{part}", _FAINT, 16)


def _draw_pair(case: MatchingCase, result: PairResult, evaluation: Evaluation) -> Image.Image:
    images = _show(case.fixed, case.fixed_valid), _show(case.moving, case.moving_valid)
    box = _LONGEST, max(_fitted(image, (_LONGEST, _LONGEST))[1] for image in images)
    found = result.fits[0].estimate.fixed_from_moving
    panels = [
        _draw_lines(images, result, box),
        _draw_board(images, case.moving_valid, np.eye(3), box),
        _draw_board(images, case.moving_valid, found, box),
    ]
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    cell = Image.new("RGB", (width, box[1] + _CAPTION), _PAPER)
    x = 0
    for panel in panels:
        cell.paste(panel, (x, 0))
        x += panel.width + _GAP
    _write_caption(ImageDraw.Draw(cell), box[1] + 4, result, evaluation)
    return cell


def _write_caption(draw: ImageDraw.ImageDraw, y: int, result: PairResult, evaluation: Evaluation) -> None:
    fit = result.fits[0]
    beyond = sum(fit.error_px > limit for limit in evaluation.protocol.success_px)
    where = "landmarks" if fit.landmark_error_px is not None else "corners"
    said = fit.estimate.reason or f"{fit.error_px:.1f} px off at the {where}"
    right = "" if result.precision is None else f", {result.precision:.0%} at their true places"
    counts = f"{fit.estimate.inliers.sum()} of {len(result.matches)} tie points fit{right}"
    x = _write(draw, (0, y), f"{result.pair}  {result.kind}", _INK, 18)
    x = _write(draw, (x + 18, y), said, _VERDICTS[min(beyond, len(_VERDICTS) - 1)], 18)
    _write(draw, (x + 18, y + 1), f"{counts}; {result.seconds:.2f} s", _FAINT, 16)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, size: int) -> int:
    """Write a line and return where it ends."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)  # a file's name holds anything
    draw.text(at, line, colour, font=_font(size))
    return at[0] + round(draw.textlength(line, _font(size)))


def _draw_lines(images: tuple[Pixels, Pixels], result: PairResult, box: Box) -> Image.Image:
    """Draw both images side by side with lines between their tie points."""
    large = box[0] * _SMOOTH, box[1] * _SMOOTH
    fixed, moving = (_fit(_dim(image), large) for image in images)
    step = large[0] + _GAP * _SMOOTH
    canvas = Image.new("RGB", (step + large[0], large[1]), _PAPER)
    canvas.paste(fixed.picture, (0, 0))
    canvas.paste(moving.picture, (step, 0))
    # Half a pixel more: the drawing counts from pixels' edges, tie points from their centres.
    starts = (result.matches.fixed_xy + 0.5) * fixed.scale + fixed.corner
    ends = (result.matches.moving_xy + 0.5) * moving.scale + moving.corner + (step, 0)
    draw = ImageDraw.Draw(canvas)
    inliers = result.fits[0].estimate.inliers
    for fits in (False, True):  # those that fit on top
        for index in _thin_out(np.flatnonzero(inliers == fits), _MOST_LINES[fits]):
            line = [(float(x), float(y)) for x, y in (starts[index], ends[index])]
            draw.line(line, _LINES[fits], _SMOOTH)
            for x, y in line:
                draw.ellipse([x - 4, y - 4, x + 4, y + 4], _LINES[fits])
    return canvas.resize((canvas.width // _SMOOTH, canvas.height // _SMOOTH), Image.Resampling.LANCZOS)


def _thin_out(indices: NDArray[np.intp], most: int) -> Sequence[int]:
    """Return at most so many, evenly through the ranks."""
    if len(indices) <= most:
        return [int(index) for index in indices]
    return [int(indices[place]) for place in np.linspace(0, len(indices) - 1, most).round().astype(int)]


def _draw_board(
    images: tuple[Pixels, Pixels], moving_valid: NDArray[np.bool_], transform: Transform | None, box: Box
) -> Image.Image:
    """Draw squares of the fixed image and of the moving one, laid onto it by a transform, in turns."""
    if transform is None:
        panel = Image.new("RGB", box, _BLANK)
        middle = box[0] / 2, box[1] / 2
        ImageDraw.Draw(panel).text(middle, "no transform", _FAINT, font=_font(18), anchor="mm")
        return panel
    fixed, moving = images
    height, width = fixed.shape[:2]
    laid, inside = warp_image(moving.astype(np.float32), transform, (height, width))
    known, _ = warp_image(moving_valid.astype(np.float32), transform, (height, width))
    side = max(height, width) / _SQUARES
    rows, columns = (np.arange(length) // side for length in (height, width))
    odd = (rows[:, None] + columns[None, :]) % 2 == 1
    # Where the moving image says nothing, the fixed one stays to be seen, darker.
    covered = (inside & (known > 0.999))[..., None]
    turns = np.where(covered, laid.round().astype(np.uint8), fixed // 3)
    return _fit(np.where(odd[..., None], turns, fixed), box).picture


def _fitted(pixels: Pixels, box: Box) -> Box:
    height, width = pixels.shape[:2]
    scale = min(box[0] / width, box[1] / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _fit(pixels: Pixels, box: Box) -> _View:
    size = _fitted(pixels, box)
    corner = (box[0] - size[0]) // 2, (box[1] - size[1]) // 2
    picture = Image.new("RGB", box, _PAPER)
    picture.paste(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), corner)
    return _View(picture, size[0] / pixels.shape[1], corner)


def _dim(pixels: Pixels) -> Pixels:
    """Return the image in weaker grey, on which coloured lines stand out."""
    grey = pixels.mean(axis=2, keepdims=True) * 0.62 + 20
    return np.repeat(grey.astype(np.uint8), 3, axis=2)


def _show(image: NDArray[Any], valid: NDArray[np.bool_]) -> Pixels:
    """Return an image as it can be looked at: three bands in colour, others in grey; invalid is black."""
    grey = prepare_image(image, valid)
    shown = np.repeat(grey.grey[..., None], 3, axis=2)
    if image.ndim == 3 and image.shape[2] == 3 and not grey.flat:
        colours = np.where(grey.valid[..., None], image, 0).astype(np.float64)
        low, high = np.percentile(colours[grey.valid], (0.5, 99.5))
        shown = np.clip((colours - low) / max(high - low, 1e-6), 0, 1)
    return np.where(grey.valid[..., None], shown * 255, 0).round().astype(np.uint8)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
