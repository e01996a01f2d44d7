"""Know source catalogues: presets, bands, masks, signing, and items as scenes."""
