"""Write cubes: layout, tiles, pyramid, receipts, and what keeps a store tidy."""
