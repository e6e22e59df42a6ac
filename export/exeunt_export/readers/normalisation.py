"""How a member wants pixels scaled, as far as its file or a file beside it says.

Sources: the type of the input (whole numbers take pixels as they are); `preprocessor_config.json` of transformers and
`config.json` of timm beside the file; Ultralytics' metadata; a first node that scales pixels itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard

import onnx_ir as ir

_BESIDE = ("preprocessor_config.json", "config.json")
_MOST_BYTES = 2**20
_THROUGH = ("Cast", "Transpose", "Identity")


def normalisation_of(model: ir.Model, path: Path) -> dict[str, Any] | None:
    """Keys of an [images.INPUT] table; None where no source has them."""
    value = model.graph.inputs[0]
    if value.dtype is not None and not value.dtype.is_floating_point():
        return {"normalise": "none"}
    for name in _BESIDE:
        keys = _from_config(_table(path.parent / name))
        if keys is not None:
            return keys
    if "ultralytics" in model.metadata_props.get("author", "").lower():
        return {"normalise": "unit"}
    return {"normalise": "none"} if _scales_pixels(value) else None


def _table(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _from_config(table: dict[str, Any]) -> dict[str, Any] | None:
    """Keys from transformers' or timm's table; None unless mean and deviation are lists of one or three numbers."""
    timm = table.get("pretrained_cfg", table)
    timm = timm if isinstance(timm, dict) else {}
    mean, std = table.get("image_mean", timm.get("mean")), table.get("image_std", timm.get("std"))
    if not (_are_numbers(mean) and _are_numbers(std)):
        return None
    if table.get("do_normalize") is False:
        mean, std = [0.0], [1.0]
    factor = table.get("rescale_factor", 1 / 255)
    scale = factor if table.get("do_rescale", True) and isinstance(factor, int | float) else 1.0
    return {"scale": float(scale), "mean": tuple(map(float, mean)), "std": tuple(map(float, std))}


def _are_numbers(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) in (1, 3) and all(isinstance(item, int | float) for item in value)


def _scales_pixels(value: ir.Value) -> bool:
    """Whether the first operator on an input scales it as only pixels up to 255 need."""
    uses = list(value.uses())
    while len(uses) == 1 and uses[0].node.op_type in _THROUGH:
        uses = list(uses[0].node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type not in ("Mul", "Div"):
        return False
    node = uses[0].node
    factors = [item.const_value.numpy() for item in node.inputs if item is not None and item.const_value is not None]
    if len(factors) != 1 or factors[0].size > 3 or not factors[0].size:
        return False
    factor = float(abs(factors[0]).max())
    return factor <= 0.02 if node.op_type == "Mul" else factor >= 50
