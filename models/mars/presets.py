"""The presets by name."""

from __future__ import annotations

from infra.errors import InputError
from models.mars.config import MarsConfig

PRESETS: dict[str, MarsConfig] = {
    # Small windows and one wide head per 32 features: on a CPU the tables of attention cost more than the
    # sums, and 4 × 4 tokens hold a sixteenth of what 8 × 8 do for the same number of tokens.
    "mars-tiny": MarsConfig(
        name="mars-tiny",
        embed_dim=32,
        depths=(2, 2, 4, 1),
        heads=(1, 2, 4, 8),
        window=4,
        image_px=128,
        mask_block_px=16,
        mma_rounds=1,
        mlp_ratio=3.0,
        dense_width=128,
        fill_width=48,
        drop_path=0.0,
    ),
    "mars-base": MarsConfig(
        name="mars-base",
        embed_dim=128,
        depths=(2, 2, 18, 2),
        heads=(4, 8, 16, 32),
        window=8,
    ),
    "mars-large": MarsConfig(
        name="mars-large",
        embed_dim=192,
        depths=(2, 2, 18, 2),
        heads=(6, 12, 24, 48),
        window=16,
        pretrained_windows=(12, 12, 12, 6),
        activation_checkpointing=True,
    ),
}
"""Base and large are the published sizes; tiny is ours, for machines without a GPU."""


def find_preset(name: str) -> MarsConfig:
    """Return a preset.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"MaRS has no preset {name!r}; known are {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]
