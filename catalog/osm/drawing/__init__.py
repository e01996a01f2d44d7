"""Draw OpenStreetMap features: a map picture, or class indices for labels."""
