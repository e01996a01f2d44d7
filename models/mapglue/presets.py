"""The presets by name."""

from __future__ import annotations

from infra.errors import InputError
from models.mapglue.config import AlignmentConfig, DetectionConfig, GlueConfig, MapGlueConfig

PRESETS: dict[str, MapGlueConfig] = {
    "mapglue": MapGlueConfig("mapglue"),
    "mapglue-fast": MapGlueConfig(
        "mapglue-fast", glue=GlueConfig(blocks=5, neighbours=16, exit_share=0.95, prune_below=0.01)
    ),
    "mapglue-tiny": MapGlueConfig(
        "mapglue-tiny",
        extractor="structure",
        descriptor_width=64,
        semantic_width=64,
        max_side=640,
        detection=DetectionConfig(radii_px=(2, 3, 4), border_px=4, max_keypoints=512),
        glue=GlueConfig(width=64, heads=2, blocks=3, neighbours=12, aligned=True, unit_px=128.0),
        alignment=AlignmentConfig(),
    ),
}


def find_preset(name: str) -> MapGlueConfig:
    """Return a preset.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"MapGlue has no preset {name!r}; known are {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]
