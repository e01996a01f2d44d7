"""Encoding in rows of windows: what comes out of the stream is what the whole scene in memory gives."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infra.errors import DataError, InputError, InternalError
from models.encoding.encoders import (
    check_encoder,
    describe_windows,
    digest_weights,
    find_encoder_weights,
    load_encoder,
)
from models.encoding.feeding import cut_batches, feed
from models.encoding.filter_bank import FilterBank
from models.encoding.prefetch import read_ahead
from models.encoding.stream import Computation, encode_strips
from models.encoding.strips import Rows, Standard, cut_strips, measure_standard, standardise
from models.encoding.survey import summarise_vectors, survey_windows
from models.encoding.windows import WindowLayout, raised_cosine, spread_windows
from models.mars.network import Mars
from models.mars.presets import find_preset

STANDARDS = {
    "rgb": Standard((0.3, 0.4, 0.5), (0.1, 0.2, 0.3)),
    "sar": Standard((-12.0,), (4.0,)),
}
ENCODER = FilterBank()


def scene(shape: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Draw both modalities, with holes, and one block of nothing."""
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(0, 1, (3, *shape)).astype(np.float32)
    sar = rng.normal(-12, 4, (1, *shape)).astype(np.float32)
    rgb[:, 5:9, 3:40] = np.nan
    rgb[:, 60:200, 100:300] = np.nan
    sar[:, 60:190, 110:290] = np.nan
    return {"rgb": rgb, "sar": sar}


def pieces(planes: dict[str, np.ndarray], height: int, first: int = 0):
    rows = next(iter(planes.values())).shape[1]
    for top in range(first, rows, height):
        yield Rows(top, {name: values[:, top : top + height] for name, values in planes.items()})


def layout_of(shape: tuple[int, int], overlap: int = 64) -> WindowLayout:
    return WindowLayout(shape_yx=shape, window_px=128, overlap_px=overlap, stride_px=4)


def join(parts) -> np.ndarray:
    """Return rows of cells as one array, (width, rows, columns)."""
    return np.moveaxis(np.concatenate([part.values for part in parts]), 2, 0)


def stream(planes, layout: WindowLayout, *, batch: int = 5, height: int = 50, rows: range | None = None):
    wanted = rows or range(layout.cells_yx[0])
    starts = layout.rows_touching(wanted.start, wanted.stop)
    first = starts[0] * layout.stride_px
    strips = cut_strips(pieces(planes, height, first - first % height), layout, starts, STANDARDS)
    parts = list(encode_strips(ENCODER, strips, layout, Computation(batch=batch), rows=rows))
    assert [part.start for part in parts] == list(
        np.cumsum([wanted.start, *(len(part.values) for part in parts)])[:-1]
    )
    return join(parts)


def in_memory(planes, layout: WindowLayout) -> np.ndarray:
    """Encode window by window in double precision over the whole scene: written anew, nothing shared."""
    rows, cols = layout.shape_yx
    edge, stride = layout.window_px, layout.stride_px
    cells = edge // stride
    high, wide = max(-(-rows // stride), cells), max(-(-cols // stride), cells)
    padded, valid = {}, np.zeros((high * stride, wide * stride), bool)
    for name, values in planes.items():
        standard = STANDARDS[name]
        full = np.zeros((len(values), high * stride, wide * stride), np.float32)
        for band, plane in enumerate(values):
            full[band, :rows, :cols] = (plane - standard.mean[band]) / standard.stddev[band]
        known = np.isfinite(values).all(axis=0)
        full[:, :rows, :cols][:, ~known] = 0
        padded[name], valid[:rows, :cols] = full, valid[:rows, :cols] | known
    profile = np.maximum(np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2, 1e-3)
    weight = np.outer(profile, profile)
    total, weights = np.zeros((ENCODER.width, high, wide)), np.zeros((high, wide))
    for top in layout.row_starts:
        for left in layout.col_starts:
            box = (slice(top * stride, top * stride + edge), slice(left * stride, left * stride + edge))
            if not valid[box].any():
                continue
            images = {
                name: torch.from_numpy(full[(slice(None), *box)])[None] for name, full in padded.items()
            }
            place = (slice(top, top + cells), slice(left, left + cells))
            total[(slice(None), *place)] += ENCODER.encode(images)[0].numpy() * weight
            weights[place] += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        found = total / weights
    found[:, ~valid.reshape(high, stride, wide, stride).any(axis=(1, 3))] = np.nan
    return found[:, : -(-rows // stride), : -(-cols // stride)]


@pytest.mark.parametrize("shape", [(300, 421), (128, 128), (90, 260), (257, 77), (3, 2)])
@pytest.mark.parametrize("overlap", [0, 64])
def test_the_stream_gives_what_memory_gives(shape, overlap):
    planes, layout = scene(shape), layout_of(shape, overlap)
    found, expected = stream(planes, layout), in_memory(planes, layout)
    assert found.shape == expected.shape == (ENCODER.width, -(-shape[0] // 4), -(-shape[1] // 4))
    assert (np.isnan(found) == np.isnan(expected)).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_parts_of_a_scene_encoded_apart_are_the_whole_one_bit_for_bit():
    planes, layout = scene((420, 300)), layout_of((420, 300))
    whole = stream(planes, layout)
    parts = [
        stream(planes, layout, height=33, rows=rows) for rows in (range(32), range(32, 64), range(64, 105))
    ]
    assert np.array_equal(np.concatenate(parts, axis=1), whole, equal_nan=True)


def test_one_modality_is_enough_and_the_other_counts():
    planes, layout = scene((200, 200)), layout_of((200, 200))
    both, alone = stream(planes, layout), stream({"rgb": planes["rgb"]}, layout)
    seen = np.isfinite(alone[0])
    assert np.allclose(alone[:15, seen], both[:15, seen])
    assert (alone[15:, seen] == 0).all()
    assert np.abs(both[15:, seen]).max() > 0.1


def test_windows_without_data_are_never_run():
    planes, layout = scene((260, 260)), layout_of((260, 260))
    for values in planes.values():
        values[:, :, 130:] = np.nan
    (first, *_) = cut_strips(pieces(planes, 64), layout, layout.row_starts, STANDARDS)
    starts = [start for batch in cut_batches(first, layout, 2) for start in batch.starts]
    assert starts == [0, 16, 32]
    assert layout.col_starts == (0, 16, 32, 33)
    empty = {name: np.full_like(values, np.nan) for name, values in planes.items()}
    assert np.isnan(stream(empty, layout)).all()


def test_only_one_row_of_windows_is_read_ahead_of_what_comes_out():
    """Memory is that of a row: nothing below it has been asked for when its cells come out."""
    planes, layout, asked = scene((1000, 150)), layout_of((1000, 150)), []

    def reading():
        for piece in pieces(planes, 20):
            asked.append(piece.top + 20)
            yield piece

    strips = cut_strips(reading(), layout, layout.row_starts, STANDARDS)
    for part in encode_strips(ENCODER, strips, layout, Computation()):
        row = max(start for start in layout.row_starts if start <= part.start) * 4
        assert asked[-1] <= min(1000, row + 2 * 128 + 20)  # its windows and those below


def test_weights_are_smooth_and_never_vanish():
    weights = raised_cosine(32)
    assert weights.shape == (32, 32)
    assert weights.min() > 0
    assert np.allclose(weights, weights[::-1, ::-1])
    # Half-overlapping raised cosines sum to one by themselves, but for the floor at the outermost cells.
    assert np.allclose(weights[16, :16] + weights[16, 16:], weights[16, 16], atol=5e-3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"window_px": 130}, "whole number"),
        ({"overlap_px": 128}, "below 128"),
        ({"overlap_px": 6}, "multiple of 4"),
        ({"shape_yx": (0, 5)}, "must have some"),
    ],
)
def test_layouts_that_do_not_go_together(fields, words):
    with pytest.raises(InputError, match=words):
        WindowLayout(**({"shape_yx": (9, 9), "window_px": 128, "overlap_px": 64, "stride_px": 4} | fields))


def test_an_encoder_of_another_cell_is_refused():
    layout = WindowLayout(shape_yx=(64, 64), window_px=64, overlap_px=32, stride_px=8)
    with pytest.raises(InputError, match="windows of 128 px in cells of 4 px"):
        next(encode_strips(ENCODER, [], layout, Computation()))


@pytest.mark.parametrize(
    ("fields", "words"), [({"precision": "int4"}, "bfloat16"), ({"batch": 0}, "1 or more")]
)
def test_computations_that_there_are_not(fields, words):
    with pytest.raises(InputError, match=words):
        Computation(**fields)


def test_an_encoder_that_breaks_its_word_is_told():
    class Short(FilterBank):
        def encode(self, images):
            return super().encode(images)[:, :3]

    layout = layout_of((128, 128))
    strips = cut_strips(pieces(scene((128, 128)), 64), layout, (0,), STANDARDS)
    with pytest.raises(InternalError, match="not vectors of 20"):
        list(encode_strips(Short(), strips, layout, Computation()))


def test_half_precision_stays_near():
    planes, layout = scene((150, 150)), layout_of((150, 150))
    strips = cut_strips(pieces(planes, 64), layout, layout.row_starts, STANDARDS)
    (first, *_) = encode_strips(ENCODER, strips, layout, Computation(precision="bfloat16"))
    whole = stream(planes, layout)[:, : len(first.values)]
    assert np.nanmax(np.abs(join([first]) - whole)) < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same():
    planes, layout = scene((300, 421)), layout_of((300, 421))
    strips = cut_strips(pieces(planes, 64), layout, layout.row_starts, STANDARDS)
    parts = encode_strips(ENCODER, strips, layout, Computation(device=torch.device("cuda"), batch=3))
    found = join(parts)
    np.testing.assert_allclose(found, in_memory(planes, layout), rtol=0, atol=1e-4)


def test_feeding_a_cpu_keeps_order_and_values():
    layout = layout_of((128, 400))
    (strip,) = cut_strips(pieces(scene((128, 400)), 128), layout, (0,), STANDARDS)
    plain = list(cut_batches(strip, layout, 2))
    fed = list(feed(iter(plain), torch.device("cpu")))
    assert [batch.starts for batch in fed] == [batch.starts for batch in plain]
    assert all(
        torch.equal(one.images["rgb"], other.images["rgb"]) for one, other in zip(fed, plain, strict=True)
    )


def test_rows_that_end_too_early_or_leave_a_gap():
    planes, layout = scene((300, 150)), layout_of((300, 150))
    short = list(pieces(planes, 50))[:3]
    with pytest.raises(InternalError, match="rows end before 192"):
        list(cut_strips(short, layout, layout.row_starts, STANDARDS))
    with pytest.raises(InternalError, match="after a window's first row"):
        list(cut_strips(pieces(planes, 50, 50), layout, layout.row_starts, STANDARDS))


def test_standards_come_from_what_has_data():
    values = np.array([[[1.0, 3.0, np.nan]], [[10.0, 10.0, 5.0]]], np.float32)
    standard = measure_standard([values])
    assert standard == Standard((2.0, 10.0), (1.0, 1.0))
    assert measure_standard([np.full((1, 2, 2), np.nan, np.float32)]) is None
    assert measure_standard([]) is None
    scaled, valid = standardise({"sar": np.array([[[-8.0, np.nan]]], np.float32)}, STANDARDS)
    assert scaled["sar"].tolist() == [[[1.0, 0.0]]]
    assert valid.tolist() == [[True, False]]


def test_bands_that_a_modality_does_not_have():
    with pytest.raises(InputError, match=r"'rgb' of 2 bands.*rgb of 3, sar of 1"):
        standardise({"rgb": np.zeros((2, 4, 4), np.float32)}, STANDARDS)
    with pytest.raises(InputError, match="nothing is given"):
        standardise({}, STANDARDS)
    with pytest.raises(InputError, match="cannot be standardised"):
        Standard((0.0,), (0.0,))


class TestReadAhead:
    def test_order_is_kept_and_no_more_than_a_few_are_made(self):
        made: list[int] = []

        def make():
            for number in range(50):
                made.append(number)
                yield number

        coming = read_ahead(make(), depth=2)
        assert next(coming) == 0
        time.sleep(0.1)
        assert len(made) <= 4, "one taken, two ready, one in the thread's hands"
        assert list(coming) == list(range(1, 50))

    def test_what_goes_wrong_is_raised_in_its_turn(self):
        def make():
            yield 1
            raise InputError("the second is broken")

        coming = read_ahead(make())
        assert next(coming) == 1
        with pytest.raises(InputError, match="second is broken"):
            next(coming)

    def test_nobody_is_left_behind(self):
        before = threading.active_count()
        coming = read_ahead(iter(range(1000)))
        assert next(coming) == 0
        coming.close()
        assert threading.active_count() == before


class TestSurvey:
    def test_axes_and_reach_are_found(self):
        rng = np.random.default_rng(1)
        directions = np.linalg.qr(rng.normal(size=(12, 12)))[0][:3]
        along = rng.normal(size=(5000, 3)) * [5, 2, 1]
        vectors = (along @ directions + rng.normal(size=(5000, 12)) * 0.01 + 3).astype(np.float32)
        found = summarise_vectors(vectors)
        assert np.allclose(found.mean, vectors.mean(axis=0), atol=1e-4)
        assert (np.abs(np.sum(np.array(found.axes) * directions, axis=1)) > 0.999).all()
        assert found.reach > np.abs(vectors).max()
        assert all(axis[np.abs(axis).argmax()] > 0 for axis in found.axes)

    def test_short_or_constant_vectors(self):
        found = summarise_vectors(np.ones((4, 2), np.float32))
        assert len(found.axes) == 3
        assert all(low < high for low, high in zip(found.low, found.high, strict=True))

    def test_nothing_to_see(self):
        planes, layout = {"sar": np.full((1, 128, 128), np.nan, np.float32)}, layout_of((128, 128))
        strips = cut_strips(pieces(planes, 128), layout, (0,), STANDARDS)
        assert survey_windows(ENCODER, strips, Computation()) is None

    def test_windows_are_spread(self):
        layout = layout_of((2000, 1000))
        chosen = spread_windows(layout, 16)
        assert 8 <= len(set(chosen)) <= 16
        assert {row for row, _ in chosen} <= set(layout.row_starts)
        assert {col for _, col in chosen} <= set(layout.col_starts)
        assert {row for row, _ in chosen} >= {layout.row_starts[0], layout.row_starts[-1]}
        assert {col for _, col in chosen} >= {layout.col_starts[0], layout.col_starts[-1]}
        assert spread_windows(layout_of((100, 100)), 16) == ((0, 0),)
        assert len(spread_windows(layout_of((200, 200)), 16)) == 9


class TestEncoders:
    def test_names(self):
        assert check_encoder("filters") == "filters"
        with pytest.raises(InputError, match="did you mean mars-tiny"):
            check_encoder("mars-tyny")
        with pytest.raises(InputError, match="takes no weights"):
            find_encoder_weights("filters", Path("x.safetensors"))
        with pytest.raises(InputError, match="no weights file"):
            find_encoder_weights("mars-tiny", Path("/nowhere/x.safetensors"))
        assert digest_weights("filters") is None

    def test_a_process_builds_one_once(self):
        first = load_encoder("filters", "cpu", digest=None)
        assert load_encoder("filters", "cpu", digest=None) is first

    def test_mars_sees_whole_scenes_by_weights_of_its_own(self, tmp_path):
        torch.manual_seed(0)
        path = tmp_path / "mars.safetensors"
        save_file(Mars(find_preset("mars-tiny")).state_dict(), path)
        digest = digest_weights("mars-tiny", path)
        with pytest.raises(DataError, match="does not hold the weights"):
            load_encoder("mars-tiny", "cpu", digest="0" * 64, weights=path)
        encoder = load_encoder("mars-tiny", "cpu", digest=digest, weights=path)
        assert load_encoder("mars-tiny", "cpu", digest=digest, weights=path) is encoder
        assert describe_windows("mars-tiny") == (encoder.width, encoder.stride_px, encoder.window_px)
        planes, layout = scene((140, 150)), layout_of((140, 150), 32)
        strips = cut_strips(pieces(planes, 64), layout, layout.row_starts, STANDARDS)
        parts = list(encode_strips(encoder, strips, layout, Computation(batch=2)))
        found = join(parts)
        assert found.shape == (128, 35, 38)
        holes = ~np.isfinite(planes["rgb"]).all(axis=0) & ~np.isfinite(planes["sar"]).all(axis=0)
        assert np.isfinite(found[:, :10, :20]).all()
        assert np.isnan(found[:, 20, 30]).all() == holes[80:84, 120:124].all()
