"""The published call as TorchScript: two colour images and a number in, matched positions out.

``torch.jit.load(file)(image0, image1, num_keypoints)`` needs nothing of this project.
"""

# No postponed annotations: TorchScript reads types, not their names.

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from models.mapglue.matcher import load_network
from models.mapglue.pairing import PairNetwork, fit_factor, make_picture, shrink
from models.mapglue.presets import find_preset


class PublishedCall(nn.Module):
    """Images (height, width, 3) and a number of keypoints in, (n, 4) positions out, best first."""

    def __init__(self, network: PairNetwork) -> None:
        super().__init__()
        self.network = network
        self.max_side = network.max_side

    def forward(self, image0: Tensor, image1: Tensor, num_keypoints: Tensor) -> Tensor:
        """Return matches.

        Args:
            image0: (height, width, 3) red, green, blue; uint8, or float of any range. NaN is nodata.
            image1: likewise, of a size of its own.
            num_keypoints: whole number, no axes: of keypoints per image at most.

        Returns:
            float32 (n, 4): x, y in the first image and x, y in the second; pixel centres at whole numbers.
        """
        grey0, valid0 = stretch_grey(image0)
        grey1, valid1 = stretch_grey(image1)
        shortest = min(min(grey0.shape[0], grey0.shape[1]), min(grey1.shape[0], grey1.shape[1]))
        count = int(num_keypoints)
        flat = bool(grey0.max() == grey0.min()) or bool(grey1.max() == grey1.min())
        if count < 1 or shortest < 32 or flat:
            return torch.zeros((0, 4), device=image0.device)
        sides = [grey0.shape[0], grey0.shape[1], grey1.shape[0], grey1.shape[1]]
        factor = fit_factor(sides, self.max_side)
        fixed = shrink(make_picture(grey0, valid0), factor)
        moving = shrink(make_picture(grey1, valid1), factor)
        found: Tensor = self.network(fixed, moving, count, factor)
        return found[:, :4]


def stretch_grey(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return luma with its middle 98 % on 0..1, and what is valid, both (height, width).

    The same as :func:`models.matching.images.prepare_image` makes of three bands.
    """
    colours = image.to(torch.float32)
    valid = torch.isfinite(colours).all(dim=2)
    luma = torch.tensor([0.299, 0.587, 0.114], device=image.device)
    grey = torch.where(valid[..., None], colours, torch.zeros_like(colours)) @ luma
    values = torch.sort(grey[valid].to(torch.float64)).values
    if values.numel() == 0:
        return torch.zeros_like(grey), valid
    low, high = percentile(values, 0.01), percentile(values, 0.99)
    if high <= low:
        low, high = float(values[0]), float(values[-1])
    if high <= low:
        return torch.zeros_like(grey), valid
    stretched = ((grey - low) / (high - low)).clamp(0, 1)
    return torch.where(valid, stretched, torch.zeros_like(stretched)), valid


def percentile(values: Tensor, part: float) -> float:
    """Return the value below which a part of sorted values lies, between two by their distance."""
    place = part * (values.numel() - 1)
    below = int(place)
    above = min(below + 1, values.numel() - 1)
    return float(values[below]) + (place - below) * float(values[above] - values[below])


def export_torchscript(network: PairNetwork, path: Path) -> None:
    """Write the published call of a network as TorchScript.

    Args:
        network: with its weights.
        path: of the file; one that is there is replaced, and stays as it is if this fails.
    """
    with warnings.catch_warnings():
        # The published interface is TorchScript; what torch would have instead has no such call.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.jit")
        scripted = torch.jit.script(PublishedCall(network).eval())
        part = path.with_name(f".{path.name}.part")
        try:
            torch.jit.save(scripted, str(part))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def export_mapglue(preset: str, path: Path, weights: Path | None = None) -> None:
    """Write a preset as the published TorchScript call.

    Args:
        preset: its name.
        path: of the new file.
        weights: file of them; None for those that come with the preset.

    Raises:
        InputError: no such preset, or no weights come with it.
        NotFoundError: no such weights file.
        DataError: the weights do not fit the preset.
    """
    export_torchscript(load_network(find_preset(preset), weights), path)
