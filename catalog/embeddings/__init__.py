"""Plan, read, keep, draw and search the vectors that a model gives every place of a scene."""
