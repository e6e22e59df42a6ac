"""What `exeunt inspect` tells about one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exeunt.errors import ConfigError
from exeunt_export import nodecosts
from exeunt_export.bagfile import samples as sampling
from exeunt_export.cutting.cuts import Boundary, boundaries, candidates
from exeunt_export.readers import graph, shapes

_ROWS = 8


@dataclass(frozen=True, slots=True)
class Inspection:
    """Where a model can be cut.

    Attributes:
        file: the ONNX file.
        classes: number of classes.
        total_us: median time of one row on this machine, one thread.
        boundaries: every place between two nodes, in order.
    """

    file: str
    classes: int
    total_us: float
    boundaries: tuple[Boundary, ...]

    def table(self, max_width: int) -> str:
        """The possible cuts of at most `max_width`, one a line."""
        cuts = candidates(list(self.boundaries), max_width)
        widest = max((len(node.after) for node in cuts), default=0)
        longest = max(8, *(len(node.op_type) for node in cuts), 8)
        lines = [
            f"{self.file}: {self.classes} classes, {self.total_us:.0f} us a row on one thread; {len(cuts)} of "
            f"{len(self.boundaries)} boundaries can be cuts of width <= {max_width}"
        ]
        if cuts:
            lines.append(
                f"{'share':>6}  {'width':>5}  {'bytes':>9}  {'after':<{widest}}  operator   tensors of one row"
            )
        for node in cuts:
            shapes = ", ".join(f"{tensor.dtype} {list(tensor.dims)}" for tensor in node.tensors)
            lines.append(
                f"{node.share:>6.1%}  {node.width:>5}  {node.bytes_per_row:>9}  {node.after:<{widest}}  "
                f"{node.op_type:<{longest}}  {shapes}"
            )
        if not cuts:
            narrowest = min((candidate.width for candidate in candidates(list(self.boundaries), 1 << 30)), default=None)
            lines.append(f"the narrowest has width {narrowest}" if narrowest else "it can be cut nowhere")
        return "\n".join(lines)


def inspect_model(path: Path, samples: Path | None = None) -> Inspection:
    """Find and measure the boundaries of a model.

    Args:
        path: ONNX file of a classifier.
        samples: .npy or .npz with real inputs; standard normal numbers where it is None.

    Raises:
        ConfigError: the model cannot be read or run, or free dimensions ask for real inputs.
    """
    loaded = None if samples is None else sampling.load(samples, "--samples")
    rows = _random_rows(graph.read(path), path) if loaded is None else loaded
    member = graph.load_member(path.stem, path, rows)
    if "" in rows:
        rows = {member.inputs[0].name: rows[""]}
    costs = nodecosts.measure(member.model, rows, member.where)
    shapes.take_shapes_from_inputs(member, costs)
    return Inspection(str(path), member.classes, costs.total_us, tuple(boundaries(member, costs)))


def _random_rows(model: ir.Model, path: Path) -> Mapping[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = {}
    for value in model.graph.inputs:
        dims = [size for size in value.shape[1:] if isinstance(size, int)] if value.shape is not None else []
        if value.dtype is None or value.shape is None or len(dims) != len(value.shape) - 1:
            raise ConfigError(f"{path}: input {value.name!r} has free dimensions; give real inputs with --samples")
        normal = rng.normal(size=(_ROWS, *dims))
        rows[value.name or ""] = np.abs(normal).astype(value.dtype.numpy())
    return rows
