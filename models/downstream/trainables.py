"""The nine tasks as the registry of trainings names them, by their files in ``config/downstream``."""

from __future__ import annotations

from models.downstream.learner import DownstreamLearner, learner_of


def registration() -> DownstreamLearner:
    """Return the learner of tie points between optical and SAR."""
    return learner_of("registration")


def translation() -> DownstreamLearner:
    """Return the learner of an optical picture from SAR."""
    return learner_of("translation")


def mapping() -> DownstreamLearner:
    """Return the learner of land cover with an image missing."""
    return learner_of("mapping")


def targets() -> DownstreamLearner:
    """Return the learner of boxes around targets in SAR."""
    return learner_of("targets")


def buildings() -> DownstreamLearner:
    """Return the learner of boxes around buildings."""
    return learner_of("buildings")


def height() -> DownstreamLearner:
    """Return the learner of heights above the ground."""
    return learner_of("height")


def change() -> DownstreamLearner:
    """Return the learner of buildings that came or went."""
    return learner_of("change")


def roads() -> DownstreamLearner:
    """Return the learner of streets and roads."""
    return learner_of("roads")


def damage() -> DownstreamLearner:
    """Return the learner of damage to buildings."""
    return learner_of("damage")
