"""Compute, arrays in and arrays out; no paths, network, environment or clock."""
