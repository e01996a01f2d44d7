"""Turn map features into the heterogeneous graph of GeoLink."""
