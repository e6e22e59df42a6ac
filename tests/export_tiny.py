"""Tiny bags for tests: small CNNs, exported in seconds, never trained; their votes still differ from input to input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from exeunt.export.modules import save_module

CLASSES, SIDE, ROWS = 8, 16, 240


class Residual(nn.Module):
    """y = relu(x + conv(relu(conv(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def tiny_net(number: int, seed: int, classes: int = CLASSES) -> nn.Module:
    """A CNN of 1 x SIDE x SIDE inputs; the higher `number`, the wider and slower."""
    torch.manual_seed(seed * 100 + number)
    width = 8 + 4 * number
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    layers += [Residual(width) for _ in range(2 + number)]
    layers += [nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), Residual(2 * width)]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, classes)]
    net = nn.Sequential(*layers).eval()
    with torch.no_grad():  # untrained scores are all alike: spread them, so that labels differ between inputs
        scores = net(torch.from_numpy(tiny_rows(seed=99)))
        last = net[-1]
        assert isinstance(last, nn.Linear)
        last.bias -= scores.mean(dim=0)
        last.weight /= scores.std()
        last.bias /= scores.std()
    return net


def tiny_rows(rows: int = ROWS, seed: int = 0) -> np.ndarray:
    """Blurred noise, float32 [rows, 1, SIDE, SIDE]."""
    noise = np.random.default_rng(seed).normal(size=(rows, 1, SIDE, SIDE)).astype(np.float32)
    return noise + sum(np.roll(noise, shift, axis=(2, 3)) for shift in (1, 2, 3))


def tiny_bag(tmp_path: Path, *, mode: str = "ensemble", members: int = 3, seed: int = 0, exit_table: str = "") -> Path:
    """A bag file with everything it names, ready for `export_bag`.

    Args:
        tmp_path: folder to write to.
        mode: "ensemble" or "engine".
        members: how many, at least 1.
        seed: of weights and samples.
        exit_table: lines for the [exit] table.

    Returns:
        path of the bag file; the bag is named "tiny", its members "a", "b", ...
    """
    rows = tiny_rows(seed=seed)
    np.save(tmp_path / "samples.npy", rows)
    lines = ['name = "tiny"', f'mode = "{mode}"', 'samples = "samples.npy"', f"seed = {seed}"]
    for number in range(members):
        name = "abcdefgh"[number]
        save_module(tiny_net(number, seed), {"IMAGE": rows[:2]}, tmp_path / f"{name}.onnx")
        lines += ["[[member]]", f'name = "{name}"', f'file = "{name}.onnx"', f"weight = {1.0 + 0.25 * number}"]
    # nets this small cannot keep 2 %: starting the heads costs more than that
    lines += ["[cuts]", "ramp_budget = 1.0", "[serving]", "max_batch_size = 16", "[exit]", exit_table]
    path = tmp_path / "bag.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
