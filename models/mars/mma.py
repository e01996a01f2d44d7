"""Meta-Modality Attention: tokens of both modalities attend to their own kind, then to all."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.mars.config import MarsConfig

_STD = 0.02
_LONGEST_PERIOD = 1000.0


class MetaModalityAttention(nn.Module):
    """Rounds of a block within each modality and a block over all tokens.

    Blocks normalise first and add attention and hidden layer one after the other. Tokens know where they
    lie and of which modality they are. Where a modality is missing, learned tokens of it stand in: the
    global blocks fill them with what the other one shows. Both modalities share a block's weights, as
    published: their embeddings tell them apart, at half the parameters.

    With ``reference_compat`` there is none of this: one residual round attention and hidden layer, no
    embeddings, no final normalisation, and a missing modality is left out.

    Args:
        config: of the preset.
    """

    def __init__(self, config: MarsConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        make = PublishedBlock if config.reference_compat else AttentionBlock
        self.within = nn.ModuleList(make(width, config.mma_heads, hidden) for _ in range(config.mma_rounds))
        self.across = nn.ModuleList(make(width, config.mma_heads, hidden) for _ in range(config.mma_rounds))
        self.embeddings = None if config.reference_compat else ModalityEmbeddings(width)
        self.norm = nn.Identity() if config.reference_compat else nn.LayerNorm(width)
        self.activation_checkpointing = config.activation_checkpointing

    def forward(
        self, rgb: Tensor | None, sar: Tensor | None, grid: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return both modalities' tokens after the exchange.

        Args:
            rgb: (batch, rows × columns, width); None where it is missing.
            sar: likewise; one of the two is there.
            grid: rows and columns.

        Returns:
            Of the shapes that were given; those of a missing modality are there too, unless
            ``reference_compat``.
        """
        if self.embeddings is not None:
            rgb, sar = self.embeddings(rgb, sar, grid)
        given = [tokens for tokens in (rgb, sar) if tokens is not None]
        kinds = len(given)
        # Modalities lie one after the other along the tokens' axis.
        tokens = torch.cat(given, dim=1)
        for within, across in zip(self.within, self.across, strict=True):
            # As so many more images, each modality sees itself only.
            apart = torch.cat(tokens.chunk(kinds, dim=1))
            tokens = torch.cat(self._run(within, apart).chunk(kinds), dim=1)
            tokens = self._run(across, tokens)
        parts = iter(self.norm(tokens).chunk(kinds, dim=1))
        return (None if rgb is None else next(parts)), (None if sar is None else next(parts))

    def _run(self, block: nn.Module, tokens: Tensor) -> Tensor:
        if self.activation_checkpointing and self.training:
            again: Tensor = checkpoint(block, tokens, use_reentrant=False)
            return again
        answer: Tensor = block(tokens)
        return answer


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + hidden layer(norm(x)).

    Args:
        width: of a token.
        heads: of the attention.
        hidden: width of the hidden layer.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = _mlp(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (batch, n, width) that have attended to one another."""
        normal = self.attention_norm(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        added: Tensor = self.mlp(self.mlp_norm(tokens))
        return tokens + added


class PublishedBlock(nn.Module):
    """x + hidden layer(attention(norm(x))), as released: attention has no residual of its own.

    Args:
        width: of a token.
        heads: of the attention.
        hidden: width of the hidden layer.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = _mlp(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (batch, n, width) that have attended to one another."""
        normal = self.norm(tokens)
        added: Tensor = self.mlp(self.attention(normal, normal, normal, need_weights=False)[0])
        return tokens + added


class ModalityEmbeddings(nn.Module):
    """Tell tokens where they lie and what they are, and stand in for a modality that is missing.

    Args:
        width: of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modality = nn.Parameter(torch.empty(2, width))
        self.missing = nn.Parameter(torch.empty(2, width))
        for weight in (self.modality, self.missing):
            nn.init.trunc_normal_(weight, std=_STD)

    def forward(self, rgb: Tensor | None, sar: Tensor | None, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return tokens of both modalities, (batch, rows × columns, width); see the attention's."""
        given = rgb if rgb is not None else sar
        assert given is not None
        where = cell_positions(grid, given.shape[2], given.device).to(given.dtype)
        both = (
            (self.missing[kind].expand_as(given) if tokens is None else tokens) + where + self.modality[kind]
            for kind, tokens in enumerate((rgb, sar))
        )
        return next(both), next(both)


def cell_positions(grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of each cell's place, float32 (rows × columns, width).

    Places are counted from the middle of the grid, so that a larger grid holds those of a smaller one.

    Args:
        grid: rows and columns.
        width: a multiple of 4.
        device: of the answer.
    """
    steps = torch.arange(width // 4, device=device, dtype=torch.float32) / (width // 4)
    frequencies = torch.exp(-math.log(_LONGEST_PERIOD) * steps)
    rows, columns = (
        (torch.arange(count, device=device, dtype=torch.float32) - (count - 1) / 2)[:, None] * frequencies
        for count in grid
    )
    both = torch.cat(
        [
            torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, grid[1], -1),
            torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(grid[0], -1, -1),
        ],
        dim=2,
    )
    return both.flatten(0, 1)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
