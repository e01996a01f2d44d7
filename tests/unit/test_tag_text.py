"""Vectors of tags: encoders, the cache, weights and means."""

import itertools
import json
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import osmium
import pytest
import safetensors.numpy

from catalog.osm.labels import label_tags
from infra.errors import ConfigError, DataError, InputError, InternalError, NotFoundError, TransientError
from models.tag_text.clip import ClipTextEncoder, word_as_geolink
from models.tag_text.clip_folder import find_clip_folder
from models.tag_text.features import tag_features
from models.tag_text.frequencies import MAX_TABLE_BYTES, load_tag_frequencies
from models.tag_text.hashed import HashedTextEncoder
from models.tag_text.packing import grow_even_trees, grow_trees, see_ancestors
from models.tag_text.protocol import CLIP_NORM
from models.tag_text.vectors import TagVectors, encode_distinct, load_tag_vectors, save_tag_vectors
from models.tag_text.weighting import WEIGHTINGS, count_keys, key_of, weigh_tags
from tests.support.clip_text import write_clip_folder

TAGS = [
    "highway:residential",
    "highway:tertiary",
    "natural:water",
    "building:yes",
    "roof shape:half-hipped",
    "Straße:Ö 😀",
    "no colon",
    "highway:residential_link",
]


def cosine(first, second):
    a, b = HashedTextEncoder().encode([first, second])
    return float(a @ b / CLIP_NORM**2)


class CountingEncoder:
    """Remembers what it was asked to encode."""

    name = "counting/1"
    width = 2

    def __init__(self):
        self.calls = []

    def encode(self, texts):
        self.calls.append(list(texts))
        return np.array([[len(text), sum(map(ord, text))] for text in texts], np.float32).reshape(-1, 2)


# hashed


@pytest.mark.parametrize(
    ("tag", "near", "far"),
    [
        ("highway:residential", "highway:tertiary", "natural:water"),
        ("highway:primary", "highway:primary_link", "highway:footway"),
        ("natural:water", "water:lake", "waterway:river"),
        ("building:yes", "building:house", "bridge:yes"),
        ("roof shape:flat", "roof material:tar", "surface:gravel"),
    ],
)
def test_hashed_vectors_of_similar_tags_are_near(tag, near, far):
    assert cosine(tag, near) > cosine(tag, far) + 0.05


def test_hashed_vectors_do_not_depend_on_their_batch():
    texts = [*TAGS, *(f"ref:{number}" for number in range(1500))]
    encoder = HashedTextEncoder()
    together = encoder.encode(texts)
    assert together.dtype == np.float32
    assert together.shape == (len(texts), 512)
    assert np.array_equal(together[::-1], encoder.encode(texts[::-1]))
    assert np.array_equal(together[:40], np.concatenate([encoder.encode([text]) for text in texts[:40]]))


def test_hashed_vectors_stay_what_they_were():  # stored graphs hold them: a change needs a new version
    row = HashedTextEncoder(width=16).encode(["highway:residential"])[0]
    assert HashedTextEncoder(width=16).name == "hashed-ngrams/1/16"
    kept = [6.4767, -1.28197, -1.80813, -6.4767, 4.14241, 2.33428, -4.14241, -4.14241]
    kept += [3.61626, 4.66857, 6.4767, -7.23251, -2.33428, -5.95054, -4.14241, 3.61626]
    np.testing.assert_allclose(row, kept, atol=1e-5)


def test_hashed_vectors_are_as_long_as_clips():
    lengths = np.linalg.norm(HashedTextEncoder().encode(TAGS), axis=1)
    np.testing.assert_allclose(lengths, CLIP_NORM, rtol=1e-6)
    assert not HashedTextEncoder().encode(["", ":", " : ", "\n"]).any()


def test_hashed_vectors_of_different_tags_differ():
    texts = [f"{key}:{value}" for key in "abcdefghij" for value in range(400)]
    vectors = HashedTextEncoder().encode(texts)
    assert np.unique(vectors, axis=0).shape[0] == len(texts)


def test_hashed_encoder_refuses_a_width_and_takes_odd_text():
    with pytest.raises(InputError, match="width"):
        HashedTextEncoder(width=0)
    odd = HashedTextEncoder().encode(["\ud800:x", "a\nb:c\nd", "k:" + "v" * 100_000])
    assert np.isfinite(odd).all()


# CLIP


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip_folder(tmp_path_factory.mktemp("clip") / "text", ["highway", "residential", "building"])


@pytest.fixture(scope="module")
def clip(clip_folder):
    return ClipTextEncoder(clip_folder, batch_size=3)


def reference_vectors(folder, texts):
    """Encode as GeoLink does: one text at a time, nothing padded."""
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer, model = CLIPTokenizer.from_pretrained(folder), CLIPTextModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=77, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            rows.append(model(ids).last_hidden_state[0, 1:].mean(0).numpy())
    return np.stack(rows)


def test_clip_vectors_equal_one_by_one(clip, clip_folder):
    texts = [*TAGS, "", "highway", "highway:residential", *(f"highway:{n}" for n in range(30))]
    made = clip.encode(texts)
    assert made.dtype == np.float32
    assert made.shape == (len(texts), clip.width)
    np.testing.assert_allclose(made, reference_vectors(clip_folder, texts), atol=1e-5)
    np.testing.assert_allclose(made[::-1], clip.encode(texts[::-1]), atol=1e-5)
    assert np.std(made, axis=0).min() > 1e-3, "the texts are told apart"
    assert clip.encode([]).shape == (0, clip.width)


def test_clip_cuts_long_texts_at_the_models_last_position(clip, clip_folder):
    long = ["note:" + "word " * 500, "highway:" + "x" * 2000]
    np.testing.assert_allclose(clip.encode(long), reference_vectors(clip_folder, long), atol=1e-5)


def test_clip_reads_the_text_half_of_a_whole_model(tmp_path):
    folder = write_clip_folder(tmp_path / "whole", ["highway"], whole=True)
    np.testing.assert_allclose(
        ClipTextEncoder(folder).encode(TAGS), reference_vectors(folder, TAGS), atol=1e-5
    )


def test_clip_is_named_by_its_content(clip, clip_folder, tmp_path):
    assert clip.name == ClipTextEncoder(clip_folder).name
    other = shutil.copytree(clip_folder, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert ClipTextEncoder(other).name != clip.name


def test_clip_folder_absent_or_incomplete(tmp_path, clip_folder):
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        ClipTextEncoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no folder openai/clip"):
        ClipTextEncoder("openai/clip-vit-base-patch16")
    with pytest.raises(InputError, match="no folder"):
        find_clip_folder("../../absent/model", download=True)
    pickled = shutil.copytree(clip_folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"lacks weights as \.safetensors"):
        ClipTextEncoder(pickled)


def test_clip_takes_odd_text(clip):
    odd = clip.encode(["half\ud800:x", "\x00", "<|endoftext|>", "a<|startoftext|>b"])
    assert np.isfinite(odd).all()


class _Absent(BaseHTTPRequestHandler):
    """A hub that has no such model."""

    def do_GET(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_hub_without_the_model_and_hub_that_is_down(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Absent) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(NotFoundError, match="no model owner/absent@v1"):
                find_clip_folder("owner/absent@v1", download=True)
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(TransientError, match="owner/absent cannot be fetched"):
        find_clip_folder("owner/absent", download=True)


def test_clip_files_damaged(tmp_path, clip_folder):
    from safetensors.numpy import load_file, save_file

    cut = shutil.copytree(clip_folder, tmp_path / "cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be loaded"):
        ClipTextEncoder(cut)

    holed = shutil.copytree(clip_folder, tmp_path / "holed")
    weights = load_file(holed / "model.safetensors")
    del weights[next(name for name in weights if "fc1.weight" in name)]
    save_file(weights, holed / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="lacks 1 weights"):
        ClipTextEncoder(holed)

    mixed = shutil.copytree(clip_folder, tmp_path / "mixed")
    config = json.loads((mixed / "config.json").read_text())
    (mixed / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))
    with pytest.raises(DataError):
        ClipTextEncoder(mixed)


def test_clip_without_transformers_or_device(monkeypatch, clip_folder):
    with pytest.raises(ConfigError, match="cannot compute on 'abacus'"):
        ClipTextEncoder(clip_folder, "abacus")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="install it, or use the hashed encoder"):
        ClipTextEncoder(clip_folder)


def test_geolinks_wording():
    assert word_as_geolink("building:yes") == "building:building"
    assert [word_as_geolink(tag) for tag in ("highway:path", "yes", "a:yes!")] == [
        "highway:path",
        "yes",
        "a:yes!",
    ]


# trees of tokens


def test_trees_hold_every_text_and_share_beginnings():
    texts = [[0, 5, 6, 1], [0, 5, 7, 1], [0, 9, 1], [0, 5, 6, 1]]
    (tree,) = grow_trees(texts, 77)
    assert tree.tokens.size == 8  # start, 5, 6, end, 7, end, 9, end
    assert sorted(tree.rows.tolist()) == [0, 1, 2, 3]
    for row, end in zip(tree.rows.tolist(), tree.ends.tolist(), strict=True):
        assert tree.tokens[see_ancestors(tree)[end]].tolist() == texts[row]


def test_trees_stay_within_their_bound():
    rng = np.random.default_rng(3)
    texts = [[0, *rng.integers(2, 9, rng.integers(1, 9)).tolist(), 1] for _ in range(300)]
    trees = grow_trees(texts, 20)
    assert max(tree.tokens.size for tree in trees) <= 20
    assert sorted(row for tree in trees for row in tree.rows.tolist()) == list(range(300))
    with pytest.raises(InputError, match="expected 2 to 20"):
        grow_trees([[0] * 21], 20)
    assert grow_trees([], 20) == []


def test_even_trees_are_as_many_and_no_larger():
    texts = [[0, 1 + number % 7, 100 + number, 200 + number, 9] for number in range(40)]
    full, even = grow_trees(texts, 33), grow_even_trees(texts, 33)
    assert len(even) == len(full)
    assert max(tree.tokens.size for tree in even) < max(tree.tokens.size for tree in full)
    assert sorted(row for tree in even for row in tree.rows) == list(range(40))
    assert grow_even_trees([], 33) == []


# the cache


def test_each_distinct_tag_is_encoded_once():
    encoder = CountingEncoder()
    first = encode_distinct(["b:1", "a:1", "b:1"], encoder)
    second = encode_distinct(["a:1", "c:1"], encoder, first)
    assert encode_distinct(["c:1", "b:1"], encoder, second) is second
    assert encoder.calls == [["b:1", "a:1"], ["c:1"]]
    assert second.texts == ("b:1", "a:1", "c:1")
    assert np.array_equal(second.select(["c:1", "b:1"]), CountingEncoder().encode(["c:1", "b:1"]))
    assert len(encode_distinct([], encoder)) == 0
    with pytest.raises(InputError, match="'d:1' has no vector yet"):
        second.select(["d:1"])


def test_known_vectors_of_another_encoder_are_refused():
    known = encode_distinct(TAGS, HashedTextEncoder())
    with pytest.raises(InputError, match="start without them"):
        encode_distinct(TAGS, HashedTextEncoder(width=64), known)


def test_an_encoder_that_breaks_its_word_is_a_bug():
    class Broken(CountingEncoder):
        width = 3

    with pytest.raises(InternalError, match="counting"):
        encode_distinct(["a"], Broken())


def test_known_vectors_survive_saving():
    encoder = HashedTextEncoder(width=32)
    known = encode_distinct([*TAGS, "", "half\ud800:x"], encoder)
    content = save_tag_vectors(known)
    assert content == save_tag_vectors(known)
    back = load_tag_vectors(content, encoder)
    assert back.texts == known.texts
    assert np.array_equal(back.vectors, known.vectors)
    nothing = load_tag_vectors(save_tag_vectors(encode_distinct([], encoder)), encoder)
    assert nothing.texts == ()


def test_spoilt_vectors_are_refused():
    encoder = HashedTextEncoder(width=32)
    known = encode_distinct(TAGS, encoder)
    content = save_tag_vectors(known)
    for spoilt in (b"", b"garbage", content[:-5], content[:40]):
        with pytest.raises(DataError, match="tag vectors"):
            load_tag_vectors(spoilt, encoder)
    with pytest.raises(DataError, match="hashed-ngrams/1/64"):
        load_tag_vectors(content, HashedTextEncoder(width=64))
    doubled = TagVectors(encoder=known.encoder, texts=("a", "a"), vectors=known.vectors[:2])
    with pytest.raises(DataError, match="twice"):
        load_tag_vectors(save_tag_vectors(doubled), encoder)
    blank = TagVectors(encoder=known.encoder, texts=("a",), vectors=np.full((1, 32), np.nan, np.float32))
    with pytest.raises(DataError, match="not finite"):
        load_tag_vectors(save_tag_vectors(blank), encoder)
    short = TagVectors(encoder=known.encoder, texts=("a", "b"), vectors=known.vectors[:1])
    with pytest.raises(DataError, match="damaged"):
        load_tag_vectors(save_tag_vectors(short), encoder)
    scalar = safetensors.numpy.load(content) | {"ends": np.array(3)}
    with pytest.raises(DataError, match="damaged"):
        load_tag_vectors(safetensors.numpy.save(scalar), encoder)


# weights


TABLE = {"highway": 1000, "surface": 100, "golf": 10, "rare": 1}


def test_log_frequency_is_geolinks():
    weights = weigh_tags(["highway:x", "golf:hole", "rare:1", "unknown:1"], TABLE, "log_frequency")
    np.testing.assert_allclose(weights, [np.log(1000), np.log(10), 0, 0])


def test_inverse_frequency_prefers_rare_keys():
    weights = weigh_tags(["highway:x", "golf:hole", "rare:1", "unknown:1"], TABLE)
    np.testing.assert_allclose(weights, np.log1p(1111 / np.array([1000, 10, 1, 1])))
    assert weigh_tags(["a", "b:c"], {}).tolist() == [1, 1]
    assert weigh_tags(["a", "b:c"], TABLE, "uniform").tolist() == [1, 1]


def test_weights_refuse_unknown_rules_and_counts():
    with pytest.raises(InputError, match="known: inverse_frequency, log_frequency, uniform"):
        weigh_tags(["a"], TABLE, "tfidf")
    with pytest.raises(InputError, match="'a' is 0"):
        weigh_tags(["a"], {"a": 0, "b": 2})
    assert all(weigh_tags([], {}, name).shape == (0,) for name in WEIGHTINGS)


@pytest.mark.real
def test_geolinks_weights_drown_what_is_particular(real_data):
    """Share of the weight that ``building`` and ``highway`` take in features which say more than that."""
    table = load_tag_frequencies(real_data / "imagery_osm/geolink_tag_frequencies.json")
    assert len(table) == 2790
    assert (min(table.values()), max(table.values())) == (1, 3_940_545)
    features = list(read_tags(real_data / "osm/liechtenstein-latest.osm.pbf"))
    assert len(features) > 2500
    shares = {rule: generic_shares(features, table, rule) for rule in WEIGHTINGS}
    assert np.mean(shares["log_frequency"]) == pytest.approx(0.52, abs=0.03)
    assert np.mean(shares["uniform"]) == pytest.approx(0.36, abs=0.03)
    assert np.mean(shares["inverse_frequency"]) == pytest.approx(0.16, abs=0.03)
    assert np.sum(shares["log_frequency"] == 1) > 100, "features whose other tags GeoLink's weights silence"
    assert shares["inverse_frequency"].max() < 1


def read_tags(extract):
    """The describing tags of every feature that has several, ``building`` or ``highway`` among them."""
    for element in osmium.FileProcessor(extract).with_filter(osmium.filter.EmptyTagFilter()):
        tags = label_tags({tag.k: tag.v for tag in element.tags})
        if {"building", "highway"} & tags.keys() and tags.keys() - {"building", "highway"}:
            yield [f"{key}:{value}" for key, value in tags.items()]


def generic_shares(features, table, rule):
    shares = []
    for tags in features:
        weights = weigh_tags(tags, table, rule)
        generic = [key_of(tag) in {"building", "highway"} for tag in tags]
        shares.append(weights[generic].sum() / weights.sum())
    return np.array(shares)


def test_keys_are_counted_over_their_values():
    tags = ["highway:a", "highway:b", "golf:hole", "unused:1"]
    assert count_keys(tags, np.array([0, 1, 1, 2])) == {"highway": 3, "golf": 1}
    assert count_keys([], np.array([], np.int64)) == {}


def test_a_table_is_read_from_file_or_bytes(tmp_path):
    (tmp_path / "table.json").write_text(json.dumps(TABLE))
    assert load_tag_frequencies(tmp_path / "table.json") == TABLE
    assert load_tag_frequencies(b'{"a": 1}') == {"a": 1}
    with pytest.raises(NotFoundError, match=r"no file .*absent\.json"):
        load_tag_frequencies(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe",
        b'{"a": 0}',
        b'{"a": 1.5}',
        b'{"a": true}',
        b'{"a": "1"}',
        b'{"a": NaN}',
        b'{"": 1}',
        b'{"a": 1e400}',
        b"[" * 100_000,
        b'{"a": 1' + b"0" * 5000 + b"}",
        b" " * (MAX_TABLE_BYTES + 1),
        json.dumps({"k" * 256: 1}).encode(),
    ],
    ids=lambda content: content[:12].decode(errors="replace"),
)
def test_what_is_no_table_is_refused(content):
    with pytest.raises(DataError, match="table of tag frequencies"):
        load_tag_frequencies(content)


# means


def means_one_by_one(offsets, ids, vectors, weights):
    rows = []
    for start, stop in itertools.pairwise(offsets):
        chosen = ids[start:stop]
        share = weights[chosen] if weights[chosen].sum() else np.ones(chosen.size)
        rows.append(np.average(vectors[chosen], axis=0, weights=share) if chosen.size else vectors[0] * 0)
    return np.array(rows)


def test_features_equal_a_plain_mean_per_node():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 7, 9000)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ids = rng.integers(0, 50, offsets[-1])
    vectors = rng.normal(size=(50, 16)).astype(np.float32)
    weights = np.where(rng.random(50) < 0.4, 0, rng.random(50))
    made = tag_features(offsets, ids, vectors, weights)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, means_one_by_one(offsets, ids, vectors, weights), atol=1e-6)
    some = tag_features(
        offsets[4090:4110] - offsets[4090], ids[offsets[4090] : offsets[4109]], vectors, weights
    )
    assert np.array_equal(some, made[4090:4109]), "a node does not depend on the others"


def test_features_of_nothing():
    vectors, weights = np.ones((1, 4), np.float32), np.zeros(1)
    none = np.array([], np.int64)
    assert tag_features(np.array([0]), none, vectors, weights).shape == (0, 4)
    assert tag_features(np.array([0, 0, 1]), np.array([0]), vectors, weights).tolist() == [[0] * 4, [1] * 4]
    assert tag_features(np.array([0, 0]), none, np.empty((0, 4), np.float32), none).tolist() == [[0] * 4]


@pytest.mark.parametrize(
    ("offsets", "ids", "weights"),
    [([0, 2], [0], [1]), ([1, 1], [0], [1]), ([0, 1], [1], [1]), ([0, 1], [-1], [1]), ([0, 1], [0], [-1]),
     ([0, 1], [0], [np.nan]), ([0, 1], [0], [1, 1]), ([], [], [1]), ([0, 2, 1], [0], [1])],
)  # fmt: skip
def test_features_refuse_arrays_that_do_not_fit(offsets, ids, weights):
    with pytest.raises(InputError):
        tag_features(
            np.array(offsets, np.int64),
            np.array(ids, np.int64),
            np.ones((1, 4), np.float32),
            np.array(weights, float),
        )
