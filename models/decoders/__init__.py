"""From a pyramid of features to one map: decoders, and the pyramids that need no trained weights."""
