"""Serve and keep the embedded STAC catalogue: stac-fastapi over one SQLite file."""
