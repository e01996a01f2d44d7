"""Serve a catalogue as a STAC API, with its store's files and STAC Browser beside it."""
