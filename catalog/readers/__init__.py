"""Read pixels of source scenes onto a grid, by interchangeable loaders."""
