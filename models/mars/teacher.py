"""The teacher: an encoder that no gradient trains, and whose answer to an image is the same at every call."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn

from infra.errors import InputError
from models.mars.encoder import MarsEncoder

MOMENTUM = 0.996


class Teacher(nn.Module):
    """A copy of an encoder, frozen and always in evaluation mode.

    Kept frozen it is the published teacher (with ImageNet's weights in it). Where no such weights are at
    hand ``follow`` lets it trail behind the student: a slow mean of weights that have learned something,
    instead of weights that have learned nothing.

    Args:
        encoder: is copied, not changed.

    Source: Tarvainen and Valpola, Mean teachers, NIPS 2017, for the slow mean.
    """

    def __init__(self, encoder: MarsEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: dropped paths would make its features a matter of chance."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of whole images, (batch, tokens, width), without gradient.

        Args:
            images: (batch, channels, height, width), standardised, nothing hidden.
        """
        with torch.no_grad():
            return self.encoder.normalise(self.encoder(images)[-1])

    @torch.no_grad()
    def follow(self, encoder: MarsEncoder, momentum: float = MOMENTUM) -> None:
        """Move every weight a little towards the student's.

        Args:
            encoder: the student's, of the same make.
            momentum: the part of the teacher's own weight that stays, 0 to 1.

        Raises:
            InputError: a momentum out of its range, or an encoder of another make.
        """
        if not 0 <= momentum <= 1:
            raise InputError(f"A teacher's momentum is {momentum}; expected 0 to 1.")
        own, others = list(self.encoder.parameters()), list(encoder.parameters())
        if [weight.shape for weight in own] != [weight.shape for weight in others]:
            raise InputError(
                f"A teacher of {len(own)} weights cannot follow a student of {len(others)} weights of other "
                "shapes; make it from the student's encoder."
            )
        for mine, theirs in zip(own, others, strict=True):
            mine.lerp_(theirs.to(mine.dtype), 1 - momentum)
