"""Measure tag text: every distinct tag once, in shared sequences, beside one text per occurrence.

The way it is compared with is that of GeoLink's converter: each tag of each feature goes through the text
model by itself, unpadded, nothing remembered. The model has the size of CLIP ViT-B/16's text half (512 wide,
12 layers, 8 heads, 49,408 tokens) and random weights, since the cost alone counts; its time per single text
is measured on a sample and multiplied. For CLIP's vocabulary stands one learned from the words of the tags,
with at most 8 letters per token. Features are those nearest to the middle of Vaduz.

Run: ``TERRALOOM_REAL_DATA=… python -m tests.bench.osm_tag_text``.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import osmium

from catalog.osm.labels import label_tags
from models.tag_text.clip import ClipTextEncoder
from models.tag_text.features import tag_features
from models.tag_text.hashed import HashedTextEncoder
from models.tag_text.packing import grow_trees
from models.tag_text.protocol import TextEncoder
from models.tag_text.vectors import encode_distinct
from models.tag_text.weighting import count_keys, weigh_tags
from tests.support.clip_text import write_clip_folder

_VADUZ = (9.5215, 47.141)
_SAMPLE = 120
_CLIP_B16 = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "vocab_size": 49_408,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--features", type=int, nargs="+", default=[300, 1000, 5000])
    options.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    asked = options.parse_args()
    labels = read_nearest(Path(os.environ["TERRALOOM_REAL_DATA"]) / "osm/liechtenstein-latest.osm.pbf")
    with tempfile.TemporaryDirectory() as folder:
        words = sorted({word for tags in labels for tag in tags for word in re.findall(r"[a-z]+", tag)})
        clip = ClipTextEncoder(write_clip_folder(Path(folder) / "clip", words, longest=8, **_CLIP_B16))
        print("| features | encoder | occurrences | distinct | one by one, s | ours, s | means, s | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for count in asked.features:
            for name, encoder in (("hashed", HashedTextEncoder()), ("CLIP B/16 size", clip)):
                print_row(name, encoder, labels[:count], asked.rounds)
        print_tokens(clip, labels, asked.features)


def read_nearest(extract: Path) -> list[list[str]]:
    """Tags of all features, the nearest to Vaduz first; a way lies where its first node does."""
    found = []
    reading = osmium.FileProcessor(extract).with_locations("flex_mem")
    for element in reading.with_filter(osmium.filter.EmptyTagFilter()):
        if element.is_relation():
            continue
        place = element.location if element.is_node() else element.nodes[0].location
        distance = np.hypot((place.lon - _VADUZ[0]) * 0.68, place.lat - _VADUZ[1])
        tags = label_tags({tag.k: tag.v for tag in element.tags})
        found.append((distance, element.id, [f"{key}:{value}" for key, value in tags.items()]))
    return [tags for _, _, tags in sorted(found)]


def print_row(name: str, encoder: TextEncoder, labels: list[list[str]], rounds: int) -> None:
    occurrences = [tag for tags in labels for tag in tags]
    distinct = list(dict.fromkeys(occurrences))
    numbers = {tag: number for number, tag in enumerate(distinct)}
    offsets = np.concatenate([[0], np.cumsum([len(tags) for tags in labels])])
    ids = np.array([numbers[tag] for tag in occurrences])
    step = max(1, len(occurrences) // _SAMPLE)
    sample = occurrences[::step]

    def one_by_one() -> None:
        for text in sample:
            encode_single(encoder, text)

    def ours() -> np.ndarray:
        return encode_distinct(distinct, encoder).select(distinct)

    def means() -> np.ndarray:
        return tag_features(offsets, ids, vectors, weigh_tags(distinct, count_keys(distinct, ids)))

    singles, encodings, averagings = [], [], []
    vectors = ours()
    for _ in range(rounds):  # interleaved, so that a machine that slows down slows all
        singles.append(seconds(one_by_one) * len(occurrences) / len(sample))
        encodings.append(seconds(ours))
        averagings.append(seconds(means))
    total = min(encodings) + min(averagings)
    print(
        f"| {len(labels)} | {name} | {len(occurrences)} | {len(distinct)} | {min(singles):.3f} "
        f"| {total:.4f} | {min(averagings):.4f} | {min(singles) / total:.0f} × |"
    )


def encode_single(encoder: TextEncoder, text: str) -> np.ndarray:
    """Encode as the converter does: CLIP's model on one unpadded text."""
    if not isinstance(encoder, ClipTextEncoder):
        return encoder.encode([text])[0]
    import torch

    with torch.inference_mode():
        ids = encoder._tokenizer(text, truncation=True, max_length=77, return_tensors="pt")["input_ids"]
        return encoder._model(ids).last_hidden_state[0, 1:].mean(0).numpy()


def print_tokens(clip: ClipTextEncoder, labels: list[list[str]], counts: list[int]) -> None:
    for count in counts:
        distinct = list(dict.fromkeys(tag for tags in labels[:count] for tag in tags))
        numbered = clip._tokenizer(distinct)["input_ids"]
        nodes = sum(tree.tokens.size for tree in grow_trees(numbered, 77))
        print(f"{count} features: {sum(map(len, numbered))} tokens of distinct tags, {nodes} in trees")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
