"""Open the labelled set that a configuration names, as lessons for a downstream task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catalog.labelled.coco import read_coco
from catalog.labelled.files import check_shape, find_images, match_names
from catalog.labelled.rasters import find_changes, find_class_maps, find_damage, find_height_maps
from catalog.labelled.records import BoxedImage, ClassChange, ClassMap, HeightMap, LabelledSource
from catalog.labelled.vectors import find_building_boxes, find_road_maps
from catalog.pairs.pictures import read_picture
from catalog.pairs.records import Picture
from infra.errors import DataError, InputError
from models.downstream.config import DownstreamConfig
from models.downstream.detection import BOXES, LABELS
from models.downstream.excerpts import cut_window, halve
from models.downstream.height import HEIGHT
from models.downstream.labelled import DataConfig, LabelledLessons, LabelledPlaces
from models.downstream.lessons import Batch, View
from models.downstream.segmentation import CLASSES, NOTHING, SegmentationTask
from models.downstream.tasks import find_task, fit_task

_KINDS = {
    "roads": ("vectors", "masks"),
    "buildings": ("vectors", "coco"),
    "targets": ("coco",),
    "mapping": ("masks",),
    "height": ("ndsm",),
    "change": ("pairs",),
    "damage": ("damage",),
}
"""Task → the kinds of sets it can learn from, the usual one first."""
_KEPT_PLACES = 32
_UNKNOWN = ("", "-")


@dataclass(frozen=True)
class _Part:
    """What of a set teaches, or measures.

    Attributes:
        folder: of its images.
        pattern: of their names.
        half: of every image.
        labels: where they are, in the configuration's words.
    """

    folder: Path
    pattern: str
    half: str
    labels: str

    @property
    def name(self) -> str:
        """What results call it."""
        shown = self.folder.name + ("" if self.pattern == "*" else f"/{self.pattern}")
        return shown if self.half == "whole" else f"the {self.half} half of {shown}"

    def find(self, default: str = ".") -> Path:
        """Return where the labels are."""
        return self.folder / (self.labels or default)


def open_lessons(config: DownstreamConfig) -> LabelledLessons | None:
    """Return the lessons of the labelled set that a configuration names; None where it names none.

    Raises:
        InputError: the set's kind does not suit the task, a folder is absent, or the part to measure on
            shares images with the part to learn from.
        NotFoundError: there are no images, or labels are absent.
        DataError: files are broken, or names lead outside.
    """
    data = config.data
    if data is None:
        return None
    kinds = _KINDS.get(config.task, ())
    kind = data.kind or next(iter(kinds), "")
    if kind not in kinds:
        raise InputError(
            f"The task {config.task!r} cannot learn from a set of the kind {kind!r}; it takes "
            f"{' or '.join(kinds) or 'drawn places only'}."
        )
    train = _split(data.train, data.train_part, data.labels)
    test = _split(data.test, data.test_part, data.test_labels or data.labels)
    parts = [_open(part, kind, config, data) for part in (train, test)]
    _check_apart(train, test, *parts)
    return LabelledLessons(parts[0], parts[1], config.lessons)


def _split(named: str, half: str, labels: str) -> _Part:
    """Tell a folder from a folder with a pattern of names, or with one image's name."""
    path = Path(named).expanduser()
    if path.is_dir():
        return _Part(path, "*", half, labels)
    if not path.parent.is_dir() or not (path.is_file() or set(path.name) & set("*?[")):
        raise InputError(f"There is no folder {path} of labelled images; name one, or FOLDER/PATTERN.")
    return _Part(path.parent, path.name, half, labels)


def _check_apart(train: _Part, test: _Part, learned: LabelledPlaces, measured: LabelledPlaces) -> None:
    """Refuse to measure on what was learned from."""
    if train.folder.resolve() != test.folder.resolve():
        return
    shared = set(learned.ids) & set(measured.ids)
    halves = {train.half, test.half}
    if shared and halves not in ({"left", "right"}, {"top", "bottom"}):
        raise InputError(
            f"{len(shared)} images, {min(shared)!r} first, are to be learned from and measured on; name "
            "others, or opposite halves of them."
        )


def _open(part: _Part, kind: str, config: DownstreamConfig, data: DataConfig) -> LabelledPlaces:
    sources = _FINDERS[kind](part, config, data)
    if not sources:
        raise InputError(f"No image of {part.folder} fits {part.pattern!r}; look at its files' names.")

    @lru_cache(maxsize=_KEPT_PLACES)
    def read(number: int) -> Batch:
        place = sources[number].read()
        seen = next(image for image in place.views[0] if image is not None)
        return cut_window(place, halve((seen.shape[2], seen.shape[3]), part.half))

    return LabelledPlaces(part.name, tuple(source.id for source in sources), read)


def _find_vectors(part: _Part, config: DownstreamConfig, data: DataConfig) -> Sequence[LabelledSource[Batch]]:
    shapes = part.find() if part.labels else None
    if config.task == "roads":
        roads = find_road_maps(part.folder, shapes, pattern=part.pattern, width_m=data.road_width_m)
        return _add_radar(roads, _of_map, part, data)
    boxes = find_building_boxes(part.folder, shapes, pattern=part.pattern)
    return _add_radar(boxes, _of_boxes, part, data)


def _find_masks(part: _Part, config: DownstreamConfig, data: DataConfig) -> Sequence[LabelledSource[Batch]]:
    task = fit_task(find_task(config.task), data)
    assert isinstance(task, SegmentationTask)
    found = find_class_maps(
        part.folder,
        part.find(),
        _number_classes(data.values, task.classes),
        endings=(data.endings[0], data.endings[1]),
        pattern=part.pattern,
    )
    return _add_radar(found, _of_map, part, data)


def _number_classes(values: Sequence[tuple[str, str]], classes: Sequence[str]) -> dict[int, int]:
    """Return what maps store → class's number.

    Raises:
        InputError: a value is no whole number, or a class has no such name.
    """
    if not values:
        return {number: number for number in range(len(classes))} | {-1: NOTHING, 255: NOTHING}
    numbers = {name: number for number, name in enumerate(classes)} | dict.fromkeys(_UNKNOWN, NOTHING)
    for stored, name in values:
        if name not in numbers or not stored.removeprefix("-").isdecimal():
            raise InputError(
                f"data.values has {stored} = {name!r}; expected a number = one of {', '.join(classes)}, "
                "or an empty word for nothing known."
            )
    return {int(stored): numbers[name] for stored, name in values}


def _find_coco(part: _Part, config: DownstreamConfig, data: DataConfig) -> Sequence[LabelledSource[Batch]]:
    read = read_coco(part.find("annotations.json"), part.folder)
    lost = sorted(set(data.classes) - set(read.classes))
    if lost:
        raise InputError(
            f"{part.find('annotations.json')} lacks the class {lost[0]!r}; it has {', '.join(read.classes)}."
        )
    # Without names of its own the task has one class, which all the set's boxes are of.
    wanted = {name: number for number, name in enumerate(data.classes)}
    numbers = np.array([wanted.get(name, -1) if wanted else 0 for name in read.classes], np.int64)
    make = partial(_of_boxes, numbers=numbers, radar_image=config.task == "targets")
    kept = [source for source in read.sources if fnmatchcase(Path(source.id).name, part.pattern)]
    return _add_radar(kept, make, part, data)


def _find_heights(part: _Part, config: DownstreamConfig, data: DataConfig) -> Sequence[LabelledSource[Batch]]:
    del config  # only heights learn from these
    endings = data.endings[0], data.endings[1]
    found = find_height_maps(part.folder, part.find(), endings=endings, pattern=part.pattern)
    return _add_radar(found, _of_heights, part, data)


def _find_pairs(part: _Part, config: DownstreamConfig, data: DataConfig) -> Sequence[LabelledSource[Batch]]:
    find = find_damage if config.task == "damage" else find_changes
    return [
        LabelledSource(source.id, partial(_read_pair, source, data))
        for source in find(part.folder, pattern=part.pattern)
    ]


_FINDERS: dict[str, Callable[[_Part, DownstreamConfig, DataConfig], Sequence[LabelledSource[Batch]]]] = {
    "vectors": _find_vectors,
    "masks": _find_masks,
    "coco": _find_coco,
    "ndsm": _find_heights,
    "pairs": _find_pairs,
    "damage": _find_pairs,
}


def _add_radar(
    sources: Sequence[LabelledSource[Any]], make: Callable[..., Batch], part: _Part, data: DataConfig
) -> list[LabelledSource[Batch]]:
    """Return sources that read images, truth and, where the set has them, radar images of the same names."""
    radars: dict[str, Path] = {}
    if data.radar:
        radars = find_images(part.folder / data.radar, data.endings[2])
        match_names({source.id: part.folder for source in sources}, radars)

    def read(source: LabelledSource[Any]) -> Batch:
        radar = radars.get(source.id)
        return make(source.read(), data, None if radar is None else _read_radar(radar, data))

    return [LabelledSource(source.id, partial(read, source)) for source in sources]


def _read_radar(path: Path, data: DataConfig) -> Tensor:
    return show_radar(read_picture(path), data.sar_band, str(path))


def _of_map(labelled: ClassMap, data: DataConfig, radar: Tensor | None) -> Batch:
    classes = torch.from_numpy(labelled.classes)[None]
    return _join(labelled.image, data, radar, {CLASSES: classes})


def _of_heights(labelled: HeightMap, data: DataConfig, radar: Tensor | None) -> Batch:
    return _join(labelled.image, data, radar, {HEIGHT: torch.from_numpy(labelled.height_m)[None, None]})


def _of_boxes(
    labelled: BoxedImage,
    data: DataConfig,
    radar: Tensor | None,
    *,
    numbers: NDArray[np.int64] | None = None,
    radar_image: bool = False,
) -> Batch:
    """Return an image with its boxes; a crowd's say nothing of single objects and are left out."""
    labels = labelled.labels if numbers is None else numbers[labelled.labels]
    kept = ~labelled.crowd & (labels >= 0)
    truth = {
        BOXES: torch.from_numpy(labelled.boxes_xyxy[kept]).float()[None],
        LABELS: torch.from_numpy(labels[kept])[None],
    }
    if radar_image:
        return Batch((View(None, show_radar(labelled.image, data.sar_band, "an image")),), truth)
    return _join(labelled.image, data, radar, truth)


def _read_pair(source: LabelledSource[ClassChange], data: DataConfig) -> Batch:
    """Return both images; a later one of a single band is a radar's."""
    read = source.read()
    before = View(show_colours(read.before, data.rgb_bands, source.id), None)
    if read.after.pixels.ndim == 2:
        after = View(None, show_radar(read.after, 1, source.id))
    else:
        after = View(show_colours(read.after, data.rgb_bands, source.id), None)
    return Batch((before, after), {CLASSES: torch.from_numpy(read.classes)[None]})


def _join(image: Picture, data: DataConfig, radar: Tensor | None, truth: dict[str, Tensor]) -> Batch:
    colours = show_colours(image, data.rgb_bands, "an optical image")
    if radar is not None:
        check_shape(image, radar[0, 0].numpy(), Path(data.radar))
    return Batch((View(colours, radar),), truth)


def show_colours(picture: Picture, bands: Sequence[int], place: str) -> Tensor:
    """Return three bands of a picture, float32 (1, 3, height, width), NaN where it says nothing.

    Raises:
        DataError: it has fewer bands.
    """
    pixels = np.atleast_3d(picture.pixels)
    if pixels.shape[2] == 1:  # grey
        pixels = np.repeat(pixels, 3, axis=2)
    if max(bands) > pixels.shape[2]:
        raise DataError(f"{place} has {pixels.shape[2]} bands; {list(bands)} are asked for (rgb_bands).")
    return _mask(pixels[..., [band - 1 for band in bands]], picture)


def show_radar(picture: Picture, band: int, place: str) -> Tensor:
    """Return one band of a picture, float32 (1, 1, height, width), NaN where it says nothing.

    Raises:
        DataError: it has fewer bands.
    """
    pixels = np.atleast_3d(picture.pixels)
    if band > pixels.shape[2]:
        raise DataError(f"{place} has {pixels.shape[2]} bands; band {band} is asked for (sar_band).")
    return _mask(pixels[..., band - 1 : band], picture)


def _mask(pixels: NDArray[Any], picture: Picture) -> Tensor:
    shown = pixels.astype(np.float32)
    shown[~np.isfinite(shown)] = np.nan
    if picture.valid is not None:
        shown[~picture.valid] = np.nan
    return torch.from_numpy(np.ascontiguousarray(shown.transpose(2, 0, 1)))[None]
