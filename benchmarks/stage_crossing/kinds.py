"""Bags that are cut inside members: EfficientNet-Lites with new last layers say what a photograph shows.

Four classes: animals, food, plants, vehicles. The nets keep their ImageNet weights; their last layers are fitted here
on crops of photographs. So exits inside them are strong, as they are where a large net was given a small task.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.serving.bench_bag import BenchStream, Material, Say
from benchmarks.serving.imagenet import NETS, OnPixels, load_nets
from benchmarks.serving.photographs import SIDE_PX, crops, with_kinds
from exeunt_export.torch_modules import save_module

KINDS = ("animals", "food", "plants", "vehicles")
HARDEST = 0.6
FIT_ROWS, SAMPLE_ROWS, STEPS = 400, 500, 300


def prepare(folder: Path, cache: Path, say: Say, nets: Sequence[str]) -> Material:
    """Fetch weights and photographs, fit the nets' last layers, write them; samples and stream share no photograph."""
    pictures = with_kinds(cache / "photographs", say)
    order = np.random.default_rng(0).permutation(len(pictures))
    cuts = int(0.6 * len(pictures))
    bases, others = ([pictures[place] for place in part] for part in (order[:cuts], order[cuts:]))
    files = {net: folder / f"{net}.onnx" for net in nets}
    for net, file in files.items():
        if not file.exists():
            _write(net, file, *_crops(bases, FIT_ROWS, 3), cache, say)
    samples, _ = _crops(bases, SAMPLE_ROWS, 7)

    def stream(rows: int, seed: int) -> BenchStream:
        images, kinds = _crops(others, rows, seed)
        return BenchStream(images, np.zeros(rows, dtype=np.float32), kinds)

    return Material(files, samples, KINDS, stream)


def _crops(pictures: Sequence[tuple[str, np.ndarray]], rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [rows, 3, SIDE_PX, SIDE_PX], int64 [rows] kinds); every kind as often as any other."""
    rng = np.random.default_rng(seed)
    by_kind = [[picture for its_kind, picture in pictures if its_kind == kind] for kind in KINDS]
    kinds = rng.integers(0, len(KINDS), rows)
    images = np.empty((rows, 3, SIDE_PX, SIDE_PX), dtype=np.uint8)
    for number, kind_pictures in enumerate(by_kind):
        places = np.flatnonzero(kinds == number)
        images[places] = crops(kind_pictures, rng.uniform(0.0, HARDEST, len(places)), seed + number)
    return images, kinds


def _write(name: str, file: Path, images: np.ndarray, kinds: np.ndarray, cache: Path, say: Say) -> None:
    net = load_nets(cache / "efficientnet", say)[name]
    pixels = OnPixels(net, NETS[name][1]).eval()
    features: list[torch.Tensor] = []
    hook = net._fc.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.inference_mode():
        for part in torch.from_numpy(images).split(16):
            pixels(part)
    hook.remove()
    net._fc = _last_layer(torch.cat(features).clone(), torch.from_numpy(kinds))
    save_module(pixels, {"image": np.zeros((2, 3, SIDE_PX, SIDE_PX), np.uint8)}, file)
    say(f"{name}: last layer fitted")


def _last_layer(features: torch.Tensor, kinds: torch.Tensor) -> nn.Linear:
    """Logistic regression, a little weight decay."""
    torch.manual_seed(0)
    layer = nn.Linear(features.shape[1], len(KINDS))
    optimizer = torch.optim.AdamW(layer.parameters(), 3e-3, weight_decay=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(features), kinds).backward()
        optimizer.step()
    return layer.eval()
