"""Matching across modalities without training: what edges look like, not how bright their sides are."""
