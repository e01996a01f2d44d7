"""Make street networks of extracts, through osmnx."""
