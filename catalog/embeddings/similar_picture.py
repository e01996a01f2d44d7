"""Draw what a search found: the scene with numbered boxes, and every place by itself."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from PIL import Image, ImageDraw, ImageFont
from pyproj import Transformer
from rasterio.io import MemoryFile

from catalog.cubes.finish import PREVIEW_NAME
from catalog.cubes.receipts import PRODUCTS_FOLDER as SCENES_FOLDER
from catalog.embeddings.similarity import AlikePlace, SimilarPlaces
from infra.errors import DataError
from infra.storage import Storage

_SCENE_PX, _GAP_PX, _MARGIN_PX, _HEAD_PX, _CAPTION_PX, _BAR_PX = 740, 14, 22, 66, 40, 30
_CHIP_PX = (150, 216)  # smallest and largest
_MOST_CHIPS = 64
_CHIP_TILES = 3.0  # what a chip shows around a tile, in its edges
_LEAST_CROP_PX = 24
_PAPER, _INK, _FAINT, _EMPTY = (250, 250, 248), (32, 33, 36), (110, 112, 116), (222, 222, 217)
_ASKED, _FOUND = (255, 196, 0), (255, 64, 64)
_HALO, _WHITE = (20, 20, 20), (255, 255, 255)
_METRES_PER_DEGREE = 111_320.0
_BAR_SHARE = 0.2  # of the scene's width that the scale bar takes at most


@dataclass(frozen=True, eq=False)
class ScenePicture:
    """The preview of one scene, and where it lies.

    Attributes:
        name: id of the scene.
        image: RGB.
        transform: world from pixel corner.
        crs: of the world.
    """

    name: str
    image: Image.Image
    transform: Affine
    crs: str

    def locate(self, place: AlikePlace) -> tuple[float, float]:
        """Return the pixel position of a place, corners at whole numbers."""
        x, y = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True).transform(place.lon, place.lat)
        col, row = ~self.transform @ (x, y)
        return float(col), float(row)

    def measure(self, place: AlikePlace, length_m: float) -> float:
        """Return how many pixels a length has at a place."""
        north = dataclasses.replace(place, lat=place.lat + length_m / _METRES_PER_DEGREE)
        return math.dist(self.locate(place), self.locate(north))


def read_scene_picture(storage: Storage, scene: str) -> ScenePicture:
    """Read the preview of a published scene.

    Raises:
        NotFoundError: it is not in the store.
        DataError: it is damaged.
    """
    path = f"{SCENES_FOLDER}/{scene}/{PREVIEW_NAME}"
    data = storage.read(path)
    try:
        with MemoryFile(data) as memory, memory.open() as file:
            shown, transform, crs = file.read((1, 2, 3)), file.transform, file.crs.to_wkt()
            mask = file.dataset_mask()
    except (rasterio.errors.RasterioError, IndexError, AttributeError) as exc:
        raise DataError(f"{storage.href(path)} cannot be read as a picture; make the scene again") from exc
    shown[:, mask == 0] = np.array(_EMPTY, np.uint8)[:, None]
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(shown, 0, -1)), "RGB")
    return ScenePicture(scene, image, transform, crs)


def draw_similar(
    found: SimilarPlaces, pictures: Mapping[str, ScenePicture], *, model: str, tile_m: float
) -> Image.Image:
    """Draw the scene that was asked about with a box for each place in it, and a chip of every place.

    Args:
        found: What to draw; of very many places only the first ones are.
        pictures: Item id → picture of its scene.
        model: Name of the encoder.
        tile_m: Edge of a tile, metres.

    Returns:
        RGB.
    """
    shown = dataclasses.replace(found, places=found.places[: _MOST_CHIPS - 1])
    scene = _draw_scene(shown, pictures[found.query.item], tile_m)
    across, chip_px = _lay_out_chips(1 + len(shown.places), scene.height)
    chips = _draw_chips(shown, pictures, tile_m, chip_px)
    step_x, step_y = chip_px + _GAP_PX, chip_px + _CAPTION_PX + _GAP_PX
    left, top = _MARGIN_PX + scene.width + 2 * _GAP_PX, _HEAD_PX + _MARGIN_PX
    height = max(scene.height, -(-len(chips) // across) * step_y - _GAP_PX) + top + _MARGIN_PX
    sheet = Image.new("RGB", (left + across * step_x - _GAP_PX + _MARGIN_PX, height), _PAPER)
    _draw_head(sheet, shown, len(found.places), model, tile_m)
    sheet.paste(scene, (_MARGIN_PX, top))
    for index, chip in enumerate(chips):
        row, col = divmod(index, across)
        sheet.paste(chip, (left + col * step_x, top + row * step_y))
    return sheet


def encode_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _lay_out_chips(count: int, height: int) -> tuple[int, int]:
    """Return how many chips lie side by side, and their edge: as high together as the scene, if they can."""
    for across in (3, 4, 5, 6, 8):
        rows = -(-count // across)
        edge = (height + _GAP_PX) // rows - _GAP_PX - _CAPTION_PX
        if edge >= _CHIP_PX[0]:
            return across, min(edge, _CHIP_PX[1])
    return 8, _CHIP_PX[0]


def _draw_head(sheet: Image.Image, shown: SimilarPlaces, count: int, model: str, tile_m: float) -> None:
    pen, place = ImageDraw.Draw(sheet), shown.query
    told = f"Places most alike to {_spell_place(place)}"
    pen.text((_MARGIN_PX, _MARGIN_PX), told, fill=_INK, font=ImageFont.load_default(24))
    facts = [
        f"by {model}",
        f"{shown.searched:,} tiles of {tile_m:g} m searched",
        "numbers are cosines between vectors: 1 points the same way, 0 across",
    ]
    if len(shown.places) < count:
        facts.append(f"the first {len(shown.places)} of {count} are drawn")
    if not shown.holds_point:
        facts.append("no tile with data holds the point: the nearest was asked about")
    at = (_MARGIN_PX, _MARGIN_PX + 33)
    pen.text(at, "  ·  ".join(facts), fill=_FAINT, font=ImageFont.load_default(15))


def _spell_place(place: AlikePlace) -> str:
    north, east = "N" if place.lat >= 0 else "S", "E" if place.lon >= 0 else "W"
    return f"{abs(place.lat):.4f}° {north}, {abs(place.lon):.4f}° {east}"


def _draw_scene(found: SimilarPlaces, picture: ScenePicture, tile_m: float) -> Image.Image:
    factor = _SCENE_PX / max(picture.image.size)
    size = max(1, round(picture.image.width * factor)), max(1, round(picture.image.height * factor))
    image = picture.image.resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(image)
    half = max(6.0, picture.measure(found.query, tile_m) * factor / 2)
    marked = [(place, str(number), _FOUND) for number, place in enumerate(found.places, start=1)]
    # The best one last, so that it lies on top.
    for place, badge, colour in reversed([(found.query, "", _ASKED), *marked]):
        if place.item == found.query.item:
            col, row = picture.locate(place)
            _draw_box(pen, (col * factor, row * factor), half, colour, badge)
    return _add_scale_bar(image, picture.measure(found.query, 1000.0) * factor / 1000)


def _draw_box(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    half: float,
    colour: tuple[int, int, int],
    badge: str = "",
) -> None:
    """Draw a square around a place, with its number above the upper left corner, or inside at the rim."""
    x, y = at
    for wider, shade, width in ((1, _HALO, 4), (0, colour, 2)):
        edge = half + wider
        pen.rectangle((x - edge, y - edge, x + edge, y + edge), outline=shade, width=width)
    if not badge:
        return
    font = ImageFont.load_default(14)
    wide, high = pen.textlength(badge, font=font) + 8, 18.0
    left, top = max(0.0, x - half), y - half - high + 1
    top = top if top >= 0 else max(0.0, y - half)
    pen.rectangle((left, top, left + wide, top + high), fill=colour, outline=_HALO)
    pen.text((left + wide / 2, top + high / 2), badge, fill=_HALO, font=font, anchor="mm")


def _add_scale_bar(scene: Image.Image, px_per_m: float) -> Image.Image:
    """Put a bar of 1, 2 or 5 times a power of ten metres below a picture."""
    most_m = scene.width * _BAR_SHARE / px_per_m
    power = 10.0 ** math.floor(math.log10(most_m))
    length_m = power * max(step for step in (1, 2, 5) if step * power <= most_m)
    words = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    image = Image.new("RGB", (scene.width, scene.height + _BAR_PX), _PAPER)
    image.paste(scene)
    pen, middle, long = ImageDraw.Draw(image), scene.height + _BAR_PX // 2 + 2, length_m * px_per_m
    pen.rectangle((0, middle - 2, long, middle + 1), fill=_INK)
    pen.text((long + 8, middle), words, fill=_INK, font=ImageFont.load_default(14), anchor="lm")
    return image


def _draw_chips(
    found: SimilarPlaces, pictures: Mapping[str, ScenePicture], tile_m: float, edge: int
) -> list[Image.Image]:
    home = pictures[found.query.item].name
    chips = [_caption(_draw_chip(found.query, pictures, tile_m, edge, _ASKED), "asked about", home)]
    for number, place in enumerate(found.places, start=1):
        name = pictures[place.item].name
        where = _spell_place(place) if name == home else name
        chip = _draw_chip(place, pictures, tile_m, edge, _FOUND)
        chips.append(_caption(chip, f"{number}    {place.cosine:.3f}", where))
    return chips


def _caption(picture: Image.Image, words: str, small: str) -> Image.Image:
    """Put two lines above a picture; the second is cut where it is too long."""
    chip = Image.new("RGB", (picture.width, picture.height + _CAPTION_PX), _PAPER)
    chip.paste(picture, (0, _CAPTION_PX))
    pen, font = ImageDraw.Draw(chip), ImageFont.load_default(12)
    while pen.textlength(small, font=font) > picture.width:
        small = small[:-2].rstrip("…") + "…"
    pen.text((0, 2), words, fill=_INK, font=ImageFont.load_default(16))
    pen.text((0, 22), small, fill=_FAINT, font=font)
    return chip


def _draw_chip(
    place: AlikePlace,
    pictures: Mapping[str, ScenePicture],
    tile_m: float,
    edge_px: int,
    colour: tuple[int, int, int],
) -> Image.Image:
    """Draw a place and what is around it; at the scene's rim the box leaves the middle."""
    picture = pictures[place.item]
    col, row = picture.locate(place)
    tile_px = picture.measure(place, tile_m)
    crop = round(max(_LEAST_CROP_PX, _CHIP_TILES * tile_px))
    left = _keep_inside(col, crop, picture.image.width)
    top = _keep_inside(row, crop, picture.image.height)
    image = Image.new("RGB", (crop, crop), _EMPTY)
    image.paste(picture.image, (-left, -top))
    image = image.resize((edge_px, edge_px), Image.Resampling.LANCZOS)
    factor = edge_px / crop
    half = max(4.0, tile_px * factor / 2)
    _draw_box(ImageDraw.Draw(image), ((col - left) * factor, (row - top) * factor), half, colour)
    return image


def _keep_inside(middle: float, length: int, whole: int) -> int:
    """Return where a stretch around a place begins, moved to lie inside if it fits."""
    first = round(middle - length / 2)
    return first if length > whole else min(max(first, 0), whole - length)
