"""Draw thumbnails and previews."""
