from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from exeunt.errors import ConfigError
from exeunt_export.bagfile.bagfile import Cuts, Serving
from exeunt_export.torch_modules import export_modules, save_module
from tests.export.graphs import noise_rows


def small(width: int) -> nn.Module:
    torch.manual_seed(width)
    body: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    body += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 5))


def test_a_module_becomes_onnx_with_a_free_batch(tmp_path: Path) -> None:
    module, rows = small(4), noise_rows(9, 0)
    save_module(module, {"IMAGE": rows}, tmp_path / "m.onnx")
    scores = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"IMAGE": rows})[0]
    with torch.no_grad():
        expected = module(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_bag_of_modules_is_exported(tmp_path: Path) -> None:
    report = export_modules(
        "nets",
        {"slim": small(4), "wide": small(12)},
        {"IMAGE": noise_rows(80, 0)},
        tmp_path / "repository",
        weights={"wide": 2.0},
        labels=tuple("abcde"),
        cuts=Cuts(exits=2, ramp_budget=10.0, times="counted"),
        serving=Serving(max_batch_size=2, baseline=False),
    )
    manifest = report.manifest
    assert [(member.name, member.weight) for member in manifest.members] == [("slim", 1.0), ("wide", 2.0)]
    assert [input_.name for input_ in manifest.inputs] == ["IMAGE"]
    assert not (report.output / "nets_full").exists()


class Branching(nn.Module):
    """Looks at its numbers to choose a path: nothing that a graph can hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=1) if float(x.sum()) > 0 else x.mean(dim=1)


def test_a_module_that_torch_cannot_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="odd: torch cannot export Branching"):
        save_module(Branching(), {"IMAGE": noise_rows(4, 0)}, tmp_path / "odd.onnx")
