"""What a pretrained MaRS is, for its card."""

from __future__ import annotations

from collections.abc import Sequence

from models.mars.chips import ChipFile, ReaderChips
from models.mars.config import MarsConfig
from models.training.trainable import ArrayFacts, ModelFacts, ModelSignature, ModelStart

_HASH_DIGITS = 12
_PLACES = (
    "Procedural places drawn by models/mars/places from the training's seed, seen in colour and by radar. "
    "No real image, hence no licence but this project's."
)


def describe_mars(
    name: str,
    config: MarsConfig,
    sources: Sequence[ChipFile | ReaderChips],
    *,
    held_out: int,
    teacher: str | None,
    start: str | None,
) -> ModelFacts:
    """Describe a learner's model.

    Args:
        name: the training's.
        config: the preset.
        sources: of real chips.
        held_out: chips that are evaluated on.
        teacher: digest of a frozen teacher's weights; None for one that trails behind the student.
        start: digest of the weights that are gone on from; None for fresh ones.
    """
    taught = (
        "The teacher is a slow mean of the network itself, not one that has seen ImageNet."
        if teacher is None
        else f"The teacher knows what its own weights know, of sha256 {teacher}."
    )
    begun = () if start is None else (f"Goes on from weights of sha256 {start}.",)
    taught_by = () if teacher is None else (f"Features of a teacher with weights of sha256 {teacher}.",)
    # With a digest: a training that learns from other chips is another one.
    chips = (f"{one.facts}, digest {one.digest[:_HASH_DIGITS]}" for one in sources)
    return ModelFacts(
        title=f"MaRS ({name})",
        summary="Optical and radar images of one place in, features of every 4 × 4 pixels out, for both "
        "together or either alone: two SwinV2 encoders, attention between the modalities, pretrained by "
        "rebuilding hidden squares, by contrast at three granularities and by a teacher.",
        data=(_PLACES, *chips, *taught_by, *begun),
        validation=f"{held_out} drawn places of a seed of their own: recall_at_1 is how often, both ways, an "
        "image's mean feature is most like that of the same place in the other modality; rebuilt is the mean "
        "absolute error of hidden pixels, in standard deviations. Score is recall_at_1 less rebuilt.",
        signature=_sign(config),
        start=None if start is None else ModelStart(name=config.name, sha256=start),
        limits=(
            "Images are standardised by the statistics of their own source; the weights hold those they "
            "were trained with.",
            "Radar of drawn places has no true backscatter: absolute decibels mean nothing to it.",
            taught,
        ),
    )


def _sign(config: MarsConfig) -> ModelSignature:
    given = (
        ("rgb", ("red", "green", "blue"), "optical image"),
        ("sar", ("backscatter",), "radar image, decibels or any other one number"),
    )
    return ModelSignature(
        architecture="MaRS",
        tasks=("similarity-search",),
        inputs=tuple(
            ArrayFacts(
                name=name,
                description=f"{what}, less the mean and divided by the deviation of its source, 0 where no "
                "data are; sides are multiples of 32 px; one of the two may be left out",
                axes=("batch", "bands", "height", "width"),
                shape=(-1, len(bands), -1, -1),
                bands=bands,
            )
            for name, bands, what in given
        ),
        outputs=(
            ArrayFacts(
                name="dense",
                description="features of every 4 × 4 pixels, the optical half first",
                axes=("batch", "feature", "height", "width"),
                shape=(-1, config.dense_width, -1, -1),
            ),
        ),
    )
