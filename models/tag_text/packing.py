"""Pack texts that begin alike into shared sequences, so that a causal model reads each beginning once.

In a causal text model a token's state depends on the tokens before it and on nothing after. Tags repeat their
beginnings (start token, key, colon), so the tokens of many tags form a tree, and a sequence that holds the
tree, each token attending to its ancestors only and placed at its depth, gives the very states that the texts
give one by one. The 164 tags of 1,000 map features about Vaduz have some 900 tokens, their trees 525.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

_EVEN_UP_TO = 64  # with more trees than that, the last one hardly counts


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTree:
    """Hold the tokens of some texts as a tree of m nodes: the start token first, parents before children."""

    tokens: NDArray[np.int64]
    """``(m,)`` token numbers."""
    parents: NDArray[np.int64]
    """``(m,)`` number of the node before, -1 for the start token."""
    depths: NDArray[np.int64]
    """``(m,)`` position within the text, from 0."""
    rows: NDArray[np.int64]
    """``(k,)`` which texts are in this tree."""
    ends: NDArray[np.int64]
    """``(k,)`` node where each of them ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedBatch:
    """Hold b trees, padded to t nodes, as the arrays that a text model takes."""

    tokens: NDArray[np.int64]
    """``(b, t)``."""
    positions: NDArray[np.int64]
    """``(b, t)``."""
    attends: NDArray[np.bool_]
    """``(b, 1, t, t)`` True where the node of a row sees the node of a column; padding sees itself."""


def grow_trees(texts: Sequence[Sequence[int]], max_nodes: int) -> list[TokenTree]:
    """Gather texts into as few trees as their order by tokens allows.

    Args:
        texts: Token numbers of each text; all begin with the same start token and have a second token.
        max_nodes: Most nodes per tree: the number of positions of the model.

    Returns:
        Trees; every text is in exactly one.

    Raises:
        InputError: a text has more tokens than a tree may have nodes, or fewer than two.
    """
    lengths = [len(text) for text in texts]
    if texts and not 2 <= min(lengths) <= max(lengths) <= max_nodes:
        raise InputError(f"texts have {min(lengths)} to {max(lengths)} tokens; expected 2 to {max_nodes}")
    trees, nodes, ends = [], _Nodes(), dict[int, int]()
    # sorted, texts that begin alike are neighbours and meet in one tree
    for row in sorted(range(len(texts)), key=lambda row: (tuple(texts[row]), row)):
        if len(nodes) + nodes.count_new(texts[row]) > max_nodes:
            trees.append(nodes.close(ends))
            nodes, ends = _Nodes(), {}
        ends[row] = nodes.add(texts[row])
    return [*trees, nodes.close(ends)] if ends else trees


def grow_even_trees(texts: Sequence[Sequence[int]], max_nodes: int) -> list[TokenTree]:
    """Pack texts as :func:`grow_trees` does, into as many trees, of sizes as alike as can be had.

    Sequences of one step are padded to the longest: a last tree that is a third full costs as much as a full
    one.
    """
    trees = grow_trees(texts, max_nodes)
    if len(trees) > _EVEN_UP_TO:
        return trees
    least = max((len(text) for text in texts), default=0)
    total = sum(tree.tokens.size for tree in trees)
    for size in range(max(least, -(-total // max(1, len(trees)))), max_nodes):
        even = grow_trees(texts, size)
        if len(even) == len(trees):
            return even
    return trees


def stack_trees(trees: Sequence[TokenTree], pad_token: int) -> PackedBatch:
    """Lay trees side by side, padded to the largest."""
    shape = (len(trees), max(tree.tokens.size for tree in trees))
    tokens, positions = np.full(shape, pad_token, np.int64), np.zeros(shape, np.int64)
    attends = np.broadcast_to(np.eye(shape[1], dtype=bool), (shape[0], 1, shape[1], shape[1])).copy()
    for number, tree in enumerate(trees):
        size = tree.tokens.size
        tokens[number, :size], positions[number, :size] = tree.tokens, tree.depths
        attends[number, 0, :size, :size] = see_ancestors(tree)
    return PackedBatch(tokens=tokens, positions=positions, attends=attends)


def see_ancestors(tree: TokenTree) -> NDArray[np.bool_]:
    """Mark, for each of m nodes, itself and the nodes before it in its text: ``(m, m)``."""
    sees = np.eye(tree.tokens.size, dtype=bool)
    for node, parent in enumerate(tree.parents.tolist()):
        if parent >= 0:
            sees[node] |= sees[parent]
    return sees


def average_paths(tree: TokenTree) -> NDArray[np.float32]:
    """Make the ``(k, m)`` matrix that averages the states of each text's tokens but the start token."""
    paths = see_ancestors(tree)[tree.ends] & (tree.depths > 0)
    return np.asarray(paths / paths.sum(axis=1, keepdims=True), np.float32)


class _Nodes:
    """A tree as it grows: nodes in order of birth, found by parent and token."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], int] = {}
        self._depths: list[int] = []

    def __len__(self) -> int:
        return len(self._depths)

    def count_new(self, text: Sequence[int]) -> int:
        """Count the nodes that adding a text would make."""
        parent = -1
        for place, token in enumerate(text):
            child = self._found.get((parent, token))
            if child is None:
                return len(text) - place
            parent = child
        return 0

    def add(self, text: Sequence[int]) -> int:
        """Add a text; return the node where it ends."""
        parent = -1
        for place, token in enumerate(text):
            child = self._found.setdefault((parent, token), len(self._depths))
            if child == len(self._depths):
                self._depths.append(place)
            parent = child
        return parent

    def close(self, ends: dict[int, int]) -> TokenTree:
        """Freeze the tree with the texts (row → node of its end) that are in it."""
        links = np.array(list(self._found), np.int64).reshape(-1, 2)
        return TokenTree(
            tokens=links[:, 1],
            parents=links[:, 0],
            depths=np.array(self._depths, np.int64),
            rows=np.array(list(ends), np.int64),
            ends=np.array(list(ends.values()), np.int64),
        )
