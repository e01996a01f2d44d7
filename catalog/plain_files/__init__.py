"""Make a static catalogue over anyone's GeoTIFFs."""
