"""Keep features, and elements that could not become any, as Parquet tables."""
