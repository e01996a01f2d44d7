"""A MaRS small enough for unit tests, with every part at work."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.mars.network import Mars
from models.mars.presets import find_preset

SMALL = replace(
    find_preset("mars-tiny"),
    name="small",
    embed_dim=8,
    depths=(1, 1, 2, 1),
    heads=(1, 2, 2, 2),
    image_px=64,
    mask_block_px=16,
    mma_heads=2,
    mma_rounds=2,
    mlp_ratio=2.0,
    dense_width=12,
    fill_width=8,
)


def make_mars(config=SMALL, seed=0):
    """Return a network in evaluation mode whose parts all take part.

    SwinV2 starts with blocks that add nothing, and fills start with 0: what is to be shown of them would
    hold of a fresh network whatever they did.
    """
    torch.manual_seed(seed)
    network = Mars(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.5)
    return network


def draw_images(count=2, height=64, width=64, seed=0):
    """Return rgb and sar noise."""
    draw = torch.Generator().manual_seed(seed)
    rgb = torch.randn(count, 3, height, width, generator=draw)
    return rgb, torch.randn(count, 1, height, width, generator=draw)
