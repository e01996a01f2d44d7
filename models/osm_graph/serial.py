"""Write a graph as safetensors bytes and read it back: no pickle, the same bytes for the same graph."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from infra.errors import DataError
from models.osm_graph.schema import (
    EDGE_TYPES,
    NODE_TYPES,
    NODE_WIDTHS,
    RELATIONS,
    EdgeType,
    GraphEdges,
    GraphNodes,
    OsmGraph,
)

FORMAT = 1
"""Version of the layout below; readers refuse others."""
_NODE_DTYPES: dict[str, np.dtype[Any]] = {
    "rows": np.dtype(np.int64),
    "coordinates": np.dtype(np.float32),
    "tag_offsets": np.dtype(np.int64),
    "tag_ids": np.dtype(np.int32),
}
_Arrays = dict[str, NDArray[np.generic]]


def save_graph(graph: OsmGraph) -> bytes:
    """Write a graph as safetensors.

    Tensors are named ``nodes.polygon.rows``, ``edges.point.to.line.index`` and so on; ``tag_names`` is a
    JSON list in ASCII bytes, ``box`` four numbers, ``format`` the version.
    """
    names = json.dumps(graph.tag_names).encode()
    arrays: _Arrays = {
        "format": np.array([FORMAT], dtype=np.int64),
        "box": np.array(graph.box, dtype=np.float64),
        "tag_names": np.frombuffer(names, dtype=np.uint8),
    }
    for name, nodes in graph.nodes.items():
        for field in _NODE_DTYPES:
            arrays[f"nodes.{name}.{field}"] = np.ascontiguousarray(getattr(nodes, field))
    for kind, edges in graph.edges.items():
        arrays[f"edges.{'.'.join(kind)}.index"] = np.ascontiguousarray(edges.index)
        arrays[f"edges.{'.'.join(kind)}.relation"] = edges.relation
    return bytes(save(arrays))


def load_graph(data: bytes) -> OsmGraph:
    """Read a graph that :func:`save_graph` wrote.

    Raises:
        DataError: If the bytes are no safetensors, of another version, or do not hold a whole and
            consistent graph.
    """
    try:
        arrays: _Arrays = dict(load(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(
            f"graph of {len(data)} bytes cannot be read as safetensors ({error}): the file is cut or "
            "altered; build the graph again"
        ) from error
    version = _take(arrays, "format", np.dtype(np.int64), (1,))
    _require(int(version[0]) == FORMAT, f"is of format {int(version[0])}, expected {FORMAT}")
    box = _take(arrays, "box", np.dtype(np.float64), (4,))
    names = _read_names(_take(arrays, "tag_names", np.dtype(np.uint8), (None,)))
    nodes = {name: _read_nodes(arrays, name, len(names)) for name in NODE_TYPES}
    edges = {kind: _read_edges(arrays, kind, nodes) for kind in EDGE_TYPES}
    west, south, east, north = (float(side) for side in box)
    return OsmGraph(box=(west, south, east, north), nodes=nodes, edges=edges, tag_names=names)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise DataError(f"stored graph {what}: the file is altered or no graph of ours; build it again")


def _take(
    arrays: _Arrays, name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]
) -> NDArray[np.generic]:
    _require(name in arrays, f"lacks {name!r}")
    found = arrays[name]
    fits = len(found.shape) == len(shape) and all(
        wanted in (None, size) for size, wanted in zip(found.shape, shape, strict=True)
    )
    _require(
        found.dtype == dtype and fits,
        f"holds {name!r} as {found.dtype}{found.shape}, expected {dtype}{shape}",
    )
    return found


def _read_names(letters: NDArray[np.generic]) -> tuple[str, ...]:
    try:
        names = json.loads(letters.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"stored graph holds tag names that are no JSON ({error}): the file is altered; build it again"
        ) from error
    _require(isinstance(names, list) and all(isinstance(name, str) for name in names), "holds no tag names")
    return tuple(names)


def _read_nodes(arrays: _Arrays, name: str, names: int) -> GraphNodes:
    shapes: dict[str, tuple[int | None, ...]] = {
        "rows": (None,),
        "coordinates": (None, NODE_WIDTHS[name]),
        "tag_offsets": (None,),
        "tag_ids": (None,),
    }
    fields = {
        field: _take(arrays, f"nodes.{name}.{field}", dtype, shapes[field])
        for field, dtype in _NODE_DTYPES.items()
    }
    count, offsets, ids = len(fields["rows"]), fields["tag_offsets"], fields["tag_ids"]
    _require(len(fields["coordinates"]) == count, f"has {count} {name} rows but other coordinates")
    starts_and_ends = offsets.size == count + 1 and (int(offsets[0]), int(offsets[-1])) == (0, ids.size)
    _require(starts_and_ends and bool((np.diff(offsets) >= 0).all()), f"has broken tag offsets of {name}")
    _require(_within(ids, names), f"has {name} tags beyond its {names} tag names")
    return GraphNodes(**fields)  # type: ignore[arg-type]


def _read_edges(arrays: _Arrays, kind: EdgeType, nodes: dict[str, GraphNodes]) -> GraphEdges:
    prefix, width = f"edges.{'.'.join(kind)}", len(RELATIONS[kind])
    index = _take(arrays, f"{prefix}.index", np.dtype(np.int64), (2, None))
    relation = _take(arrays, f"{prefix}.relation", np.dtype(np.uint8), (index.shape[1],))
    for row, end in enumerate((kind[0], kind[2])):
        _require(
            _within(index[row], len(nodes[end])), f"has edges {kind} beyond its {len(nodes[end])} {end}s"
        )
    _require(_within(relation, width), f"has relations of {kind} beyond its {width}")
    return GraphEdges(index=index, relation=relation, width=width)  # type: ignore[arg-type]


def _within(numbers: NDArray[np.generic], limit: int) -> bool:
    values = numbers.astype(np.int64)
    return bool(((values >= 0) & (values < limit)).all())
