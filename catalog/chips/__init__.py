"""Aligned optical and radar chips to pretrain on: straight from cubes, or from folders of patches."""
