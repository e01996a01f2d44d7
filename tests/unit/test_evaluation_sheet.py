"""A sheet can be drawn of whatever can be matched."""

from __future__ import annotations

import numpy as np
import pytest

from flows.evaluation_sheet import draw_sheet
from models.matching.evaluation import evaluate
from models.matching.protocol import MatchingProtocol
from models.matching.sift import IdentityMatcher
from tests.support.matching import Pair


@pytest.mark.parametrize("kind", ["bool", "uint16", "float16", "infinite", "one pixel", "thin"])
def test_every_kind_of_image_can_be_drawn(kind, rng):
    shape = {"one pixel": (1, 1, 3), "thin": (900, 2, 3)}.get(kind, (40, 50, 3))
    image = rng.random(shape) * 200
    if kind == "infinite":
        image = (image * 1e-30).astype(np.float32)
        image[3, 4], image[5, 6] = -np.inf, np.nan
    elif kind == "bool":
        image = image > 100
    elif kind in {"uint16", "float16"}:
        image = image.astype(kind)
    pair = Pair(id="a\x1b[31m", fixed=image, moving=image, fixed_from_moving=np.eye(3))
    evaluation = evaluate([pair], IdentityMatcher(), MatchingProtocol())
    sheet = np.asarray(draw_sheet([pair], evaluation))
    assert np.unique(sheet.reshape(-1, 3), axis=0).shape[0] > 10
