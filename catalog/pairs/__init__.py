"""Pairs of images that show one place: read as numpy arrays from what others have put into folders."""
