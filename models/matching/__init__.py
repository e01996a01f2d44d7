"""Matching of two images of one place: the words every matcher and every measure of it share."""
