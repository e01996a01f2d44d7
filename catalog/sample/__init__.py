"""Draw the sample world: a town, its scenes and its map, deterministic from a seed."""
