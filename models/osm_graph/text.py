"""Give the nodes of a graph the vectors of their tags."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.osm_graph.schema import OsmGraph
from models.tag_text.features import tag_features
from models.tag_text.protocol import TextEncoder
from models.tag_text.vectors import TagVectors, encode_distinct
from models.tag_text.weighting import DEFAULT_WEIGHTING, count_keys, weigh_tags


def node_text(
    graph: OsmGraph,
    encoder: TextEncoder,
    *,
    known: TagVectors | None = None,
    frequencies: Mapping[str, int] | None = None,
    weighting: str = DEFAULT_WEIGHTING,
) -> dict[str, NDArray[np.float32]]:
    """Encode each distinct tag of a graph once, and average the tags of every node.

    Args:
        graph: The graph.
        encoder: What makes a vector of a tag.
        known: Vectors of tags encoded before, by the same encoder.
        frequencies: Key → count that the weights follow; None counts the graph's own.
        weighting: Key of ``models.tag_text.weighting.WEIGHTINGS``.

    Returns:
        Node type → ``(n, width)`` float32, fit for ``models.osm_graph.hetero.to_hetero``.

    Raises:
        InputError: unknown weighting, or vectors of another encoder.
    """
    vectors = encode_distinct(graph.tag_names, encoder, known).select(graph.tag_names)
    if frequencies is None:
        ids = np.concatenate([nodes.tag_ids for nodes in graph.nodes.values()])
        frequencies = count_keys(graph.tag_names, ids)
    weights = weigh_tags(graph.tag_names, frequencies, weighting)
    return {
        kind: tag_features(nodes.tag_offsets, nodes.tag_ids, vectors, weights)
        for kind, nodes in graph.nodes.items()
    }
