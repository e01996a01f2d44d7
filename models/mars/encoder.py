"""One modality's encoder: a SwinV2 whose hidden tokens leave before anything mixes."""

from __future__ import annotations

import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn

from models.mars.config import PATCH_PX, MarsConfig

_MASK_STD = 0.02
_PUBLISHED_CLASSES = 1000


class MarsEncoder(nn.Module):
    """A hierarchical encoder of images of one modality.

    Embedding a patch, its normalisation included, looks at that patch alone. A hidden patch is replaced
    right after it by a learned token, so nothing of it reaches any feature.

    Args:
        config: of the preset. With ``reference_compat`` the classifier that the published training carried
            along, unused, is there as well.
        channels: of the images.

    Source: Liu et al., Swin Transformer V2, CVPR 2022, doi:10.1109/CVPR52688.2022.01170; Xie et al.,
    SimMIM, CVPR 2022, doi:10.1109/CVPR52688.2022.00943, for the masking.
    """

    def __init__(self, config: MarsConfig, channels: int) -> None:
        super().__init__()
        self.swin = SwinTransformerV2(
            img_size=config.image_px,
            patch_size=PATCH_PX,
            in_chans=channels,
            num_classes=_PUBLISHED_CLASSES if config.reference_compat else 0,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.heads,
            window_size=config.window,
            strict_img_size=False,
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path,
            pretrained_window_sizes=config.pretrained_windows,
        )
        self.swin.set_grad_checkpointing(config.activation_checkpointing)
        # One axis, so that whoever spares vectors from weight decay spares it too.
        self.mask_token = nn.Parameter(torch.empty(config.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=_MASK_STD)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Return the four maps, finest first, as timm's ``features_only`` has them: without a final norm.

        Args:
            images: (batch, channels, height, width), standardised; sides are multiples of 32.
            mask: bool (batch, height / 4, width / 4), True = hidden; None for all seen.

        Returns:
            (batch, width_i, height / stride_i, width / stride_i) each.
        """
        tokens = self.swin.patch_embed(images)
        if mask is not None:
            tokens = torch.where(mask[..., None], self.mask_token.to(tokens.dtype), tokens)
        maps = []
        for stage in self.swin.layers:
            tokens = stage(tokens)
            maps.append(tokens.permute(0, 3, 1, 2))
        return maps

    def normalise(self, coarsest: Tensor) -> Tensor:
        """Return the coarsest map as normalised tokens, (batch, cells, width), row by row."""
        normal: Tensor = self.swin.norm(coarsest.flatten(2).transpose(1, 2))
        return normal
