"""Build STAC Browser once, and keep the build for serving."""
