"""Hand a graph to torch_geometric; the only room here that knows torch, and only when asked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import ConfigError, InputError
from models.osm_graph.schema import OsmGraph


def to_hetero(graph: OsmGraph, text: Mapping[str, NDArray[np.float32]] | None = None) -> Any:  # noqa: ANN401 - torch_geometric carries no types
    """Return the graph as ``torch_geometric.data.HeteroData``.

    ``x`` of a node type is its text vectors followed by its coordinates, as GeoLink lays it out;
    ``edge_index`` and one-hot ``edge_attr`` stand under the graph's nine edge types.

    Args:
        graph: The graph.
        text: Vectors ``(n, d)`` of each node type's nodes; without it ``x`` is the coordinates alone.

    Raises:
        ConfigError: If torch or torch_geometric is not installed.
        InputError: If text vectors do not match the nodes.
    """
    torch, hetero = _import_torch()
    data = hetero()
    for name, nodes in graph.nodes.items():
        parts = [nodes.coordinates]
        if text is not None:
            parts.insert(0, _match_text(text, name, len(nodes)))
        data[name].x = torch.from_numpy(np.concatenate(parts, axis=1))
    for kind, edges in graph.edges.items():
        data[kind].edge_index = torch.from_numpy(edges.index.copy())
        data[kind].edge_attr = torch.from_numpy(edges.edge_attr())
    return data


def _match_text(text: Mapping[str, NDArray[np.float32]], name: str, count: int) -> NDArray[np.float32]:
    if name not in text:
        raise InputError(
            f"text vectors lack node type {name!r}: give one array for each node type, empty ones too"
        )
    vectors = np.asarray(text[name], dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != count:
        raise InputError(
            f"text vectors of {name} have shape {vectors.shape}: expected ({count}, d), one row for each node"
        )
    return vectors


def _import_torch() -> tuple[Any, Any]:
    try:
        return import_module("torch"), import_module("torch_geometric.data").HeteroData
    except ImportError as error:
        raise ConfigError(
            f"{error.name or 'torch_geometric'} is not installed: HeteroData needs torch and "
            "torch_geometric; install them, or use the graph's arrays as they are"
        ) from error
