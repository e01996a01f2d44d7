"""Hold one Prefect task per file: load, call pure code, store, return a small reference."""
