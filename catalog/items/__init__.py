"""Describe products as STAC items and collections."""
