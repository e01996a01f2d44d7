"""What a MaRS network is made of."""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import ConfigError

PATCH_PX = 4
"""Pixels of the image for one token of the finest map, and for one cell of a mask."""
COARSEST_PX = 32
"""Pixels of the image for one token of the coarsest map; sides of images are multiples of it."""
CHANNELS = {"rgb": 3, "sar": 1}
"""Channels of each modality's images."""


@dataclass(frozen=True, kw_only=True)
class MarsConfig:
    """One preset.

    Attributes:
        name: it is asked for by.
        embed_dim: features of the finest map; each coarser one has twice as many.
        depths: blocks of each of the four stages.
        heads: of the attention in each stage.
        window: side of an attention window, tokens.
        pretrained_windows: windows that positions of each stage were learned with; 0 for this ``window``.
        image_px: side of the images it is trained on, pixels. Others may be looked at.
        mask_block_px: side of the squares that are hidden in pretraining, pixels.
        mask_ratio: part of the squares that is hidden, rounded up to whole squares.
        mma_rounds: pairs of an intra-modality and a global attention block.
        mma_heads: of the attention in these.
        mlp_ratio: width of every hidden layer over its block's own.
        dense_width: features of a cell of the dense map, both modalities together.
        fill_width: features a missing modality's maps are guessed through.
        drop_path: of the deepest encoder block while training; blocks before it have less.
        activation_checkpointing: compute activations anew in the backward pass instead of keeping them.
        reference_compat: build the published network, block by block and parameter by parameter, with
            what is wrong in it.
    """

    name: str
    embed_dim: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int
    pretrained_windows: tuple[int, int, int, int] = (0, 0, 0, 0)
    image_px: int = 512
    mask_block_px: int = 32
    mask_ratio: float = 0.6
    mma_rounds: int = 2
    mma_heads: int = 8
    mlp_ratio: float = 4.0
    dense_width: int = 256
    fill_width: int = 128
    drop_path: float = 0.1
    activation_checkpointing: bool = False
    reference_compat: bool = False

    def __post_init__(self) -> None:
        """Check that the parts fit one another.

        Raises:
            ConfigError: they do not.
        """
        wrong = [
            text
            for holds, text in (
                (
                    self.image_px % COARSEST_PX == 0,
                    f"image_px {self.image_px} is no multiple of {COARSEST_PX}",
                ),
                (
                    self.mask_block_px % PATCH_PX == 0 and self.image_px % self.mask_block_px == 0,
                    f"mask_block_px {self.mask_block_px} is no multiple of {PATCH_PX} that divides "
                    f"image_px {self.image_px}",
                ),
                (0 < self.mask_ratio < 1, f"mask_ratio {self.mask_ratio} is not between 0 and 1"),
                (self.width % self.mma_heads == 0, f"mma_heads {self.mma_heads} do not divide the width"),
                (
                    all(width % heads == 0 for width, heads in zip(self.widths, self.heads, strict=True)),
                    f"heads {self.heads} do not divide the widths {self.widths}",
                ),
                (self.dense_width % 2 == 0, f"dense_width {self.dense_width} is odd"),
            )
            if not holds
        ]
        if wrong:
            raise ConfigError(f"MaRS {self.name!r} cannot be built: {'; '.join(wrong)}.")

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Features of the four maps, finest first."""
        first = self.embed_dim
        return first, 2 * first, 4 * first, 8 * first

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Pixels of the image for one of each map."""
        return PATCH_PX, 2 * PATCH_PX, 4 * PATCH_PX, COARSEST_PX

    @property
    def width(self) -> int:
        """Features of a token of the coarsest map."""
        return self.widths[-1]
