"""Find scenes in STAC APIs and static catalogues."""
