"""Keep a STAC catalogue in one SQLite file: check, write, index and search documents; no web framework."""
