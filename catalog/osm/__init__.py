"""Read OpenStreetMap data, keep them as tables, and draw them."""
