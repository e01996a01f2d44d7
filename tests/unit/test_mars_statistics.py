"""Statistics of MaRS's sources: they standardise, they travel, and foreign ones are looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infra.errors import DataError, InputError
from models.mars.statistics import (
    ChannelStatistics,
    Statistics,
    measure_statistics,
    read_statistics,
    write_statistics,
)


def test_statistics_travel_as_text():
    known = {"a": Statistics(ChannelStatistics((1.0, 2.0, 3.0), (1.0, 1.0, 2.0)), None, "none")}
    assert read_statistics(write_statistics(known)) == known
    for text in (
        "",
        "[]",
        '{"a": 1}',
        '{"a": {"rgb": {"mean": [1], "std": [0]}, "sar": null, "sar_unit": ""}}',
    ):
        with pytest.raises(DataError, match="cannot be read"):
            read_statistics(text)


def test_statistics_standardise_and_restore():
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.normal([[[[5.0]], [[1.0]], [[0.0]]]], 3, (4, 3, 9, 9))).float()
    images[0, :, 0, 0] = torch.nan
    found = measure_statistics(images, None, sar_unit="none")
    plain = found.rgb.standardise(images)
    assert float(plain.nanmean()) == pytest.approx(0, abs=1e-6)
    assert bool(plain[0, :, 0, 0].isnan().all())
    torch.testing.assert_close(found.rgb.restore(plain), images, equal_nan=True)
    with pytest.raises(InputError, match="3 channels"):
        found.rgb.standardise(images[:, :1])
    with pytest.raises(InputError, match="no statistics of sar"):
        found.standardise(None, images[:, :1])
    with pytest.raises(InputError, match="above 0"):
        measure_statistics(torch.ones(1, 3, 4, 4), None, sar_unit="none")
