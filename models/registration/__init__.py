"""Registration of whole scenes: many tie points to one transform, and an honest verdict on it."""
