"""Cloud rules, as tables of numbers."""

import numpy as np
import pytest

from catalog.sources.masks import RULES, cloud_mask, rule_for_band
from infra.errors import InputError


def test_scl_classes():
    classes = np.arange(12, dtype="uint8").reshape(3, 4)
    dropped = cloud_mask(classes, "sentinel-2-scl")
    assert dropped.shape == (3, 4)
    assert dropped.dtype == bool
    assert set(classes[dropped]) == {0, 1, 3, 8, 9, 10}


@pytest.mark.parametrize(
    ("number", "dropped"),
    [
        (0b0000_0001, True),  # fill
        (0b0000_0010, True),  # dilated cloud
        (0b0000_0100, True),  # cirrus
        (0b0000_1000, True),  # cloud
        (0b0001_0000, True),  # cloud shadow
        (0b0010_0000, False),  # snow
        (0b0100_0000, False),  # clear
        (21824, False),  # USGS: clear, low confidences
        (21952, False),  # USGS: water
        (22280, True),  # USGS: high-confidence cloud
        (23888, True),  # USGS: high-confidence cloud shadow
        (54596, True),  # USGS: high-confidence cirrus
    ],
)
def test_landsat_bits(number, dropped):
    assert cloud_mask(np.array([number], dtype="uint16"), "landsat-c2-qa-pixel").tolist() == [dropped]


@pytest.mark.parametrize(
    ("number", "dropped"), [(1, True), (2720, False), (2800, True), (2976, True), (6816, True), (2732, False)]
)
def test_landsat_collection_1_bits(number, dropped):
    assert cloud_mask(np.array([number], dtype="uint16"), "landsat-c1-bqa").tolist() == [dropped]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64"])
def test_any_integer_type(dtype):
    numbers = np.array([0, 4, 9], dtype=dtype)
    assert cloud_mask(numbers, "sentinel-2-scl").tolist() == [True, False, True]
    assert numbers.tolist() == [0, 4, 9]


def test_empty_arrays():
    assert cloud_mask(np.empty((0, 5), dtype="uint16"), "landsat-c2-qa-pixel").shape == (0, 5)


def test_wrong_rule_and_averaged_classes_are_refused():
    with pytest.raises(InputError, match="did you mean 'sentinel-2-scl'"):
        cloud_mask(np.zeros(1, dtype="uint8"), "sentinel2-scl")
    with pytest.raises(InputError, match="nearest neighbour"):
        cloud_mask(np.zeros(1, dtype="float32"), "sentinel-2-scl")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("SCL", "sentinel-2-scl"),
        ("qa_pixel", "landsat-c2-qa-pixel"),
        ("BQA", "landsat-c1-bqa"),
        ("B04", None),
    ],
)
def test_rules_are_found_by_band(name, rule):
    assert rule_for_band(name) == rule


def test_every_rule_cites_its_source():
    assert all(rule.source and (rule.classes or rule.fields) for rule in RULES.values())
