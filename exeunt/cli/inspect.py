"""`exeunt inspect`: list where a model can be cut: width, bytes, share of cost.

List the places where an ONNX model can be cut into segments: the tensors that would be handed over (width), their bytes
for one row, and the share of the model's measured time that lies before.

Example: exeunt inspect mobilenet.onnx --max-width 2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--max-width", type=int, default=2, help="most tensors of a cut (default: 2)")
    parser.add_argument("--samples", type=Path, help=".npy or .npz with real inputs; random ones if left out")
    parser.add_argument("--json", action="store_true", help="every boundary, usable or not, as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and list.

    Raises:
        ConfigError: the model cannot be read or run.
    """
    from exeunt_export.report.inspection import inspect_model

    inspection = inspect_model(args.model, args.samples)
    if args.json:
        print(json.dumps(dataclasses.asdict(inspection)))
    else:
        print(inspection.table(args.max_width))
    return 0
