"""The dense features of SuperPoint: a corner score for each pixel, a descriptor for each 8×8 pixels.

Source: DeTone, Malisiewicz, Rabinovich, "SuperPoint: Self-Supervised Interest Point Detection and
Description", CVPR Workshops 2018, doi:10.1109/CVPRW.2018.00060. The parameters carry the names of the
authors' published weights.
"""

# No postponed annotations: TorchScript reads named tuples by their types.

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELL = 8
SUPERPOINT_WIDTH = 256
SUPERPOINT_SEMANTIC_WIDTH = 128


class DenseFeatures(NamedTuple):
    """What an extractor says about images.

    Attributes:
        scores: float32 (batch, height, width), 0 to 1: how good a keypoint each pixel makes; or of half
            the images' size, one for each 2×2 pixels.
        descriptors: float32 (batch, width, h, w) of length 1, one for each cell of pixels.
        semantic: float32 (batch, semantic width, h', w'), coarse.
    """

    scores: Tensor
    descriptors: Tensor
    semantic: Tensor


class SuperPoint(nn.Module):
    """VGG-style encoder of 64, 64, 128 and 128 channels with a detector and a descriptor head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1a, self.conv1b = _conv(1, 64), _conv(64, 64)
        self.conv2a, self.conv2b = _conv(64, 64), _conv(64, 64)
        self.conv3a, self.conv3b = _conv(64, 128), _conv(128, 128)
        self.conv4a, self.conv4b = _conv(128, 128), _conv(128, 128)
        self.convPa, self.convPb = _conv(128, 256), nn.Conv2d(256, CELL * CELL + 1, 1)
        self.convDa, self.convDb = _conv(128, 256), nn.Conv2d(256, SUPERPOINT_WIDTH, 1)

    def forward(self, grey: Tensor) -> DenseFeatures:
        """Return the features of images.

        Args:
            grey: float32 (batch, 1, height, width), 0 to 1, sides multiples of 8.
        """
        cells = self.encode(grey)
        logits = self.convPb(F.relu(self.convPa(cells)))
        corners = torch.softmax(logits, dim=1)[:, :-1]  # the last class says that a cell holds no corner
        scores = F.pixel_shuffle(corners, 8)[:, 0]
        descriptors = F.normalize(self.convDb(F.relu(self.convDa(cells))), dim=1)
        return DenseFeatures(scores, descriptors, F.avg_pool2d(cells, 4, ceil_mode=True))

    def encode(self, grey: Tensor) -> Tensor:
        """Return the encoder's answer, float32 (batch, 128, height / 8, width / 8)."""
        x = F.relu(self.conv1b(F.relu(self.conv1a(grey))))
        x = F.relu(self.conv2b(F.relu(self.conv2a(F.max_pool2d(x, 2)))))
        x = F.relu(self.conv3b(F.relu(self.conv3a(F.max_pool2d(x, 2)))))
        cells: Tensor = F.relu(self.conv4b(F.relu(self.conv4a(F.max_pool2d(x, 2)))))
        return cells


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)
