"""What each task's network takes and gives, in the words of its card."""

from __future__ import annotations

from models.mars.places import place_statistics
from models.mars.statistics import ChannelStatistics
from models.training.trainable import ArrayFacts, ModelSignature

_BANDS = {"rgb": ("red", "green", "blue"), "sar": ("radar",)}
_VIEWS: dict[str, tuple[tuple[str, str], ...]] = {
    "registration": (("rgb", "the optical image"), ("sar", "the SAR image")),
    "translation": (("sar", "the SAR image"),),
    "mapping": (("rgb", "the optical image; may be missing"), ("sar", "the SAR image; may be missing")),
    "targets": (("sar", "the SAR image"),),
    "buildings": (("rgb", "the optical image"), ("sar", "the SAR image")),
    "height": (("rgb", "the optical image"), ("sar", "the SAR image")),
    "change": (("rgb", "the optical image before"), ("rgb", "the optical image after")),
    "roads": (("rgb", "the optical image"), ("sar", "the SAR image")),
    "damage": (("rgb", "the optical image before"), ("sar", "the SAR image after")),
}
_CLASSES = "the class of every pixel, whole numbers: "
_BOXES = ("object-detection", "left, top, right, bottom (pixels' edges), score")
_SEGMENTS = "semantic-segmentation"
_OUTPUTS: dict[str, tuple[str, str]] = {
    "registration": ("similarity-search", "descriptions, unit vectors of every 4 × 4 pixels"),
    "translation": ("generative", "red, green and blue, 0 to 1"),
    "mapping": (_SEGMENTS, f"{_CLASSES}water, bare, grass, crop, forest, paved, building"),
    "targets": _BOXES,
    "buildings": _BOXES,
    "height": ("regression", "metres above the ground"),
    "change": (_SEGMENTS, f"{_CLASSES}same, changed"),
    "roads": (_SEGMENTS, f"{_CLASSES}ground, road"),
    "damage": (_SEGMENTS, f"{_CLASSES}ground, intact, damaged, destroyed"),
}


def describe_signature(task: str, pyramid: str) -> ModelSignature:
    """Return what a task's network takes and gives.

    Args:
        task: its name.
        pyramid: name of the features below it.
    """
    kind, meaning = _OUTPUTS[task]
    return ModelSignature(
        architecture=f"{pyramid} pyramid, decoder and head",
        tasks=(kind,),
        inputs=tuple(
            _describe_image(number, *view, own=task == "registration")
            for number, view in enumerate(_VIEWS[task])
        ),
        outputs=(_describe_output(kind, meaning),),
    )


def _describe_image(number: int, side: str, meaning: str, *, own: bool) -> ArrayFacts:
    return ArrayFacts(
        name=f"{side}_{number}",
        description=meaning + (", with its own mean and deviation taken off" if own else ""),
        axes=("bands", "height", "width"),
        shape=(len(_BANDS[side]), -1, -1),
        bands=_BANDS[side],
        scaling=() if own else _describe_scaling(side),
        prepared_by="models.downstream.descriptors:fill_and_pad" if own else None,
    )


def _describe_scaling(side: str) -> tuple[dict[str, float | str], ...]:
    statistics = place_statistics()
    known = statistics.rgb if side == "rgb" else statistics.sar
    assert isinstance(known, ChannelStatistics)
    return tuple(
        {"type": "z-score", "mean": mean, "stddev": deviation}
        for mean, deviation in zip(known.mean, known.std, strict=True)
    )


def _describe_output(kind: str, meaning: str) -> ArrayFacts:
    if kind == "object-detection":
        return ArrayFacts(name="boxes", description=meaning, axes=("box", "value"), shape=(-1, 5))
    if kind == _SEGMENTS:
        return ArrayFacts(
            name="classes", description=meaning, axes=("height", "width"), shape=(-1, -1), dtype="int64"
        )
    depth = {"similarity-search": 48, "generative": 3, "regression": 1}[kind]
    return ArrayFacts(
        name="values", description=meaning, axes=("value", "height", "width"), shape=(depth, -1, -1)
    )
