"""How the members of tests/export/test_architectures.py are written: by torch, skl2onnx, onnxruntime, or from a file.

Weights are random, normalisation layers saw one batch, and the scores are centred and scaled on samples, so that labels
and confidence vary as a trained net's do.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import nn

from tests.architectures import attention
from tests.places import FIXTURES

SIDE, CLASSES, FEATURES = 32, 8, 12
_NORMALISATION = "functional_1/normalization_1"


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        name: of the member.
        kind: what samples it takes: "image", "image_last" (NHWC), "tokens" or "table".
        write: writes its ONNX file.
        exporter: who writes it, for the document.
        opset: of the file.
        batch: its batch dimension: "symbolic", "fixed" or "missing".
        weights: their type.
        output: which output holds the scores, where there are several.
        exits: outputs that are exits of its own, in depth order.
        width: most tensors of its cuts.
        cuts: whether there is any.
    """

    name: str
    kind: str
    write: Callable[[Entry, Path], None]
    exporter: str
    opset: int
    batch: str = "symbolic"
    weights: str = "float32"
    output: str = ""
    exits: tuple[str, ...] = ()
    width: int = 1
    cuts: bool = True
    options: Mapping[str, object] = field(default_factory=dict)


@functools.cache
def samples(kind: str, rows: int = 120) -> dict[str, np.ndarray]:
    """Unlabelled rows by input name."""
    rng = np.random.default_rng(5)
    if kind == "tokens":
        lengths = rng.integers(4, attention.TOKENS + 1, size=(rows, 1))
        mask = (np.arange(attention.TOKENS) < lengths).astype(np.int64)
        ids = rng.integers(2, attention.VOCABULARY, size=mask.shape)
        return {"input_ids": np.where(mask, ids, attention.PAD), "attention_mask": mask}
    if kind == "table":
        return {"table": rng.normal(size=(rows, FEATURES)).astype(np.float32)}
    coarse = rng.normal(size=(rows, 3, SIDE // 4, SIDE // 4)).astype(np.float32)
    image = coarse.repeat(4, 2).repeat(4, 3) + 0.3 * rng.normal(size=(rows, 3, SIDE, SIDE)).astype(np.float32)
    if kind == "image":
        return {"image": image}
    mean = np.array([0.1, 0.0, -0.1], np.float32).reshape(1, 1, 1, 3)  # an input of its own in the file, as always
    return {"image": np.ascontiguousarray(image.transpose(0, 2, 3, 1)), f"{_NORMALISATION}/Sub/y:0": mean}


class As(nn.Module):
    """A net as its entry wants it: weights of another type, without batch dimension, with probabilities."""

    def __init__(self, net: nn.Module, entry: Entry) -> None:
        super().__init__()
        self.dtype = getattr(torch, entry.weights)
        self.net, self.missing = net.to(self.dtype), entry.batch == "missing"
        self.softmax = bool(entry.options.get("probabilities"))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        rows = [tensor.unsqueeze(0) for tensor in inputs] if self.missing else list(inputs)
        scores = self.net(*(row.to(self.dtype) if row.is_floating_point() else row for row in rows))
        if isinstance(scores, tuple):
            return scores
        scores = scores.softmax(-1) if self.softmax else scores
        return scores[0] if self.missing else scores


def calibrated(net: nn.Module, kind: str) -> nn.Module:
    """Normalisation statistics from one batch; scores, those of exits too, with mean 0 and deviation 2 on it."""
    items = [torch.from_numpy(sample[:64]) for sample in samples(kind).values()]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        if kind == "image":
            net.train()(*items)
        outputs = net.eval()(*items)
        ends = getattr(net, "ends", None) or [[module for module in net.modules() if isinstance(module, nn.Linear)][-1]]
        for last, scores in zip(ends, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
            scale = 2 / scores.std(0)
            last.weight *= scale[:, None]
            if last.bias is not None:
                last.bias.copy_((last.bias - scores.mean(0)) * scale)
    return net


def torch_net(build: Callable[[], nn.Module]) -> Callable[[Entry, Path], None]:
    """Writes a torch module by either of torch's exporters."""

    def write(entry: Entry, path: Path) -> None:
        torch.manual_seed(0)
        net = As(calibrated(build(), entry.kind), entry).eval()
        arrays = samples(entry.kind)
        count = {"symbolic": 2, "fixed": 1, "missing": 1}[entry.batch]
        inputs = tuple(torch.from_numpy(array[:count]) for array in arrays.values())
        inputs = tuple(tensor[0] for tensor in inputs) if entry.batch == "missing" else inputs
        free = entry.batch == "symbolic"
        outputs = [*entry.exits, "scores"]
        names = {"input_names": list(arrays), "output_names": outputs, "opset_version": entry.opset}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # exporters remark on their own parts
            if entry.exporter == "torch dynamo":
                rows = torch.export.Dim("rows")
                shapes = {"inputs": tuple({0: rows} for _ in inputs)} if free else None
                program = torch.onnx.export(net, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
                assert program is not None
                program.save(path)
            else:
                axes = {name: {0: "rows"} for name in (*arrays, *outputs)} if free else None
                torch.onnx.export(net, inputs, str(path), dynamo=False, dynamic_axes=axes, **names)

    return write


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Samples as onnxruntime asks for them."""

    def __init__(self, rows: Mapping[str, np.ndarray]) -> None:
        self._parts = iter([{name: row[start : start + 20] for name, row in rows.items()} for start in (0, 20, 40)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs by name; None at the end."""
        return next(self._parts, None)


def quantised(build: Callable[[], nn.Module], kind: QuantFormat, by: str) -> Callable[[Entry, Path], None]:
    """Writes a torch module by an exporter, and then in 8-bit integers by onnxruntime."""

    def write(entry: Entry, path: Path) -> None:
        plain = path.with_suffix(".float.onnx")
        torch_net(build)(dataclasses.replace(entry, exporter=by, weights="float32"), plain)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own, about shapes
            quantize_static(plain, path, _Reader(samples(entry.kind)), quant_format=kind, reduce_range=True)

    return write


def fixture(file: str) -> Callable[[Entry, Path], None]:
    """A file that another framework wrote, made by a script of tests/fixtures."""
    return lambda entry, path: path.write_bytes((FIXTURES / file).read_bytes()) and None


def sklearn_model(build: Callable[[], object]) -> Callable[[Entry, Path], None]:
    """Writes a fitted scikit-learn model by skl2onnx."""

    def write(entry: Entry, path: Path) -> None:
        from skl2onnx import to_onnx

        rows = samples("table", 400)["table"]
        labels = (rows[:, :3] > 0) @ np.array([1, 2, 4])
        model = build()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it stops before it has converged
            model.fit(rows, labels)  # type: ignore[attr-defined]
        options = {id(model): {"zipmap": bool(entry.options.get("zipmap"))}}
        path.write_bytes(to_onnx(model, rows[:1], target_opset=entry.opset, options=options).SerializeToString())

    return write


def mlp() -> object:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((64, 64), max_iter=40, random_state=0, tol=1.0, n_iter_no_change=40)


def boosted_trees() -> object:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=10, max_depth=2, random_state=0)
