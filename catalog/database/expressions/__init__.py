"""CQL2 filters: parse, decide exactly on one item, and narrow in SQL what must be decided at all."""
