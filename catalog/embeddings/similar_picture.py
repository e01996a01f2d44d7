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

_SCENE_PX, _CHIP_PX, _GAP_PX, _BAR_PX = 720, 176, 12, 26
_CHIPS_ACROSS = 4
_CHIP_TILES = 3.0  # what a chip shows around a tile, in its edges
_LEAST_CROP_PX = 24
_PAPER, _INK = (246, 246, 243), (40, 40, 40)
_ASKED, _FOUND = (255, 196, 0), (255, 64, 64)
_HALO = (20, 20, 20)
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, eq=False)
class ScenePicture:
    """The preview of one scene, and where it lies.

    Attributes:
        image: RGB.
        transform: world from pixel corner.
        crs: of the world.
    """

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
    shown[:, mask == 0] = 120
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(shown, 0, -1)), "RGB")
    return ScenePicture(image, transform, crs)


def draw_similar(found: SimilarPlaces, pictures: Mapping[str, ScenePicture], *, tile_m: float) -> Image.Image:
    """Draw the scene that was asked about with a box for each place in it, and a chip of every place.

    Args:
        found: What to draw.
        pictures: Item id → picture of its scene.
        tile_m: Edge of a tile, metres.

    Returns:
        RGB.
    """
    scene = _draw_scene(found, pictures[found.query.item], tile_m)
    chips = [_draw_chip(found.query, "asked", pictures, tile_m, _ASKED)]
    chips += [
        _draw_chip(place, f"{number}   {place.cosine:.3f}", pictures, tile_m, _FOUND)
        for number, place in enumerate(found.places, start=1)
    ]
    rows = -(-len(chips) // _CHIPS_ACROSS)
    step_x, step_y = _CHIP_PX + _GAP_PX, _CHIP_PX + _BAR_PX + _GAP_PX
    height = max(scene.height, rows * step_y - _GAP_PX) + 2 * _GAP_PX
    sheet = Image.new("RGB", (scene.width + 2 * _GAP_PX + _CHIPS_ACROSS * step_x, height), _PAPER)
    sheet.paste(scene, (_GAP_PX, _GAP_PX))
    for index, chip in enumerate(chips):
        down, across = divmod(index, _CHIPS_ACROSS)
        sheet.paste(chip, (scene.width + 2 * _GAP_PX + across * step_x, _GAP_PX + down * step_y))
    return sheet


def encode_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _draw_scene(found: SimilarPlaces, picture: ScenePicture, tile_m: float) -> Image.Image:
    factor = _SCENE_PX / max(picture.image.size)
    size = max(1, round(picture.image.width * factor)), max(1, round(picture.image.height * factor))
    image = picture.image.resize(size, Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    half = max(6.0, picture.measure(found.query, tile_m) * factor / 2)
    _draw_box(pen, picture.locate(found.query), factor, half, _ASKED)
    for number, place in enumerate(found.places, start=1):
        if place.item == found.query.item:
            x, y = _draw_box(pen, picture.locate(place), factor, half, _FOUND)
            pen.text((x + 3, y), str(number), fill="white", font=font, stroke_width=2, stroke_fill=_HALO)
    return image


def _draw_box(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    factor: float,
    half: float,
    colour: tuple[int, int, int],
) -> tuple[float, float]:
    """Draw a square around a place; returns its upper left corner."""
    x, y = at[0] * factor, at[1] * factor
    for wider, shade, width in ((1, _HALO, 4), (0, colour, 2)):
        edge = half + wider
        pen.rectangle((x - edge, y - edge, x + edge, y + edge), outline=shade, width=width)
    return x - half, y - half


def _draw_chip(
    place: AlikePlace,
    words: str,
    pictures: Mapping[str, ScenePicture],
    tile_m: float,
    colour: tuple[int, int, int],
) -> Image.Image:
    picture = pictures[place.item]
    col, row = picture.locate(place)
    tile_px = picture.measure(place, tile_m)
    edge = max(_LEAST_CROP_PX, _CHIP_TILES * tile_px)
    box = (round(col - edge / 2), round(row - edge / 2), round(col + edge / 2), round(row + edge / 2))
    crop = _cut(picture.image, box).resize((_CHIP_PX, _CHIP_PX), Image.Resampling.BICUBIC)
    factor = _CHIP_PX / (box[2] - box[0])
    half = max(4.0, tile_px * factor / 2)
    _draw_box(ImageDraw.Draw(crop), (col - box[0], row - box[1]), factor, half, colour)
    chip = Image.new("RGB", (_CHIP_PX, _CHIP_PX + _BAR_PX), _PAPER)
    chip.paste(crop, (0, _BAR_PX))
    ImageDraw.Draw(chip).text((2, 4), words, fill=_INK, font=ImageFont.load_default(15))
    return chip


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Cut a box out of a picture, on paper where it reaches beyond."""
    left, top, right, bottom = box
    cut = Image.new("RGB", (right - left, bottom - top), _PAPER)
    cut.paste(image, (-left, -top))
    return cut
