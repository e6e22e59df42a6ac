"""Runs one random row through all segments and heads in this process, and compares segments with the unsplit member."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from exeunt import contract
from exeunt.bag_parts import ModelPart, Tensors, run_parts
from exeunt.errors import ExeuntError
from exeunt.manifest import Manifest, Member, Tensor
from exeunt.serving.bags import ServedBag
from exeunt.serving.checks.bag import config_of
from exeunt.serving.checks.problem import AGAIN, Problem
from exeunt.serving.onnx_model import OnnxModel

RTOL, ATOL = 1e-4, 1e-5  # of a chain of segments against the member (design: export, verify)
FREE_DIM = 8  # size given to a free dimension
_TIMES = 4.0  # of the difference that the export saw: one more row may differ more
_SUM_SLACK = 1e-3  # of probabilities in float16


def row_problems(bag: ServedBag, repository: Path) -> list[Problem]:
    """Run one random row; list what cannot be loaded, run, or is no probability, and chains that are not the member."""
    manifest, row = bag.manifest, sample_row(bag.manifest)
    problems: list[Problem] = []

    def run(part: ModelPart, inputs: Tensors) -> Tensors:
        path = part.file(repository, manifest.bag)
        key = f"exit {part.number}" if part.is_heads else ""
        config = config_of(part.model, manifest.max_batch_size, part.inputs, part.outputs)
        try:
            outputs = OnnxModel(path, config).run(inputs, [tensor.name for tensor in part.outputs])
        except ExeuntError as error:
            problems.append(Problem(_place(path, repository), key, str(error), AGAIN))
            return {}
        for name, output in outputs.items():
            if part.is_heads or name == contract.PROBABILITIES:
                problems.extend(_probability_problems(path, repository, name, output))
        return outputs

    votes = run_parts(manifest, row, run)
    for member in manifest.members:
        chain = votes.get(contract.votes_name(member.name, member.depth))
        if member.model is not None and chain is not None:
            problems += _whole_problems(manifest, member, repository, row, chain)
    return problems


def sample_row(manifest: Manifest) -> dict[str, np.ndarray]:
    """One random row of the public inputs (seeded); integers are 0, which every vocabulary has."""
    rng = np.random.default_rng(0)
    row = {}
    for tensor in manifest.inputs:
        shape = (1, *(FREE_DIM if dim < 0 else dim for dim in tensor.dims))
        floating = np.issubdtype(np.dtype(tensor.dtype), np.floating)
        row[tensor.name] = (rng.normal(size=shape) if floating else np.zeros(shape)).astype(tensor.dtype)
    return row


def _whole_problems(
    manifest: Manifest, member: Member, repository: Path, row: dict[str, np.ndarray], chain: np.ndarray
) -> Iterator[Problem]:
    """The unsplit member on the same row."""
    path = repository / str(member.model) / "1" / "model.onnx"
    public = {tensor.name: tensor for tensor in manifest.inputs}
    names = dict.fromkeys(t.name for segment in member.segments for t in segment.inputs if t.name in public)
    output = Tensor(contract.PROBABILITIES, "float32", (manifest.classes,))
    config = config_of(str(member.model), manifest.max_batch_size, [public[name] for name in names], [output])
    try:
        whole = OnnxModel(path, config).run({name: row[name] for name in names}, [output.name])[output.name]
    except ExeuntError as error:
        yield Problem(_place(path, repository), "", str(error), AGAIN)
        return
    atol = max(ATOL, _TIMES * member.difference)
    if not np.allclose(chain, whole, rtol=RTOL, atol=atol):
        off = float(np.abs(chain - whole).max())
        what = f"differs by {off:.2g} from its {member.depth} segments in sequence; allowed: {atol:.2g} + {RTOL:g} x"
        yield Problem(_place(path, repository), "", what, AGAIN)


def _probability_problems(path: Path, repository: Path, name: str, output: np.ndarray) -> Iterator[Problem]:
    if not (np.isfinite(output).all() and (output >= 0).all() and abs(float(output.sum()) - 1) < _SUM_SLACK):
        what = f"are no probabilities: sum {float(output.sum()):.4g}, least {float(output.min()):.4g}"
        yield Problem(_place(path, repository), f"output {name!r}", what, AGAIN)


def _place(path: Path, repository: Path) -> str:
    return str(path.relative_to(repository))
