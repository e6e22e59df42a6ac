"""The segments and heads of a bag, one after the other: to write, check or time them, and to run them offline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.contract import FEATURES, PROBABILITIES, exit_model, features_name, votes_name
from exeunt.manifest import Manifest, Tensor

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class ModelPart:
    """A segment, or the heads of an exit: one ONNX file.

    Attributes:
        number: of the segment's member, or of the heads' exit.
        depth: of a segment, from 1; 0 for heads.
        inputs: that it takes.
        outputs: that it makes, FEATURES last.
        in_triton: it is a Triton model; else the exit controller runs it, from its own folder.
    """

    model: str
    number: int
    depth: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    in_triton: bool

    @property
    def is_heads(self) -> bool:
        """True for the heads of an exit."""
        return self.depth == 0

    def file(self, repository: Path, bag: str) -> Path:
        """Where it lies in an exported repository."""
        if self.in_triton:
            return repository / self.model / "1" / "model.onnx"
        return repository / exit_model(bag) / "1" / f"{self.model}.onnx"


def parts_of(manifest: Manifest) -> Iterator[ModelPart]:
    """Every segment, member by member, then the heads of every exit that has some."""
    in_triton = manifest.mode == "ensemble"
    for number, member in enumerate(manifest.members):
        for depth, segment in enumerate(member.segments, start=1):
            outputs = (*segment.outputs, segment.features) if segment.features else segment.outputs
            yield ModelPart(segment.model, number, depth, segment.inputs, outputs, in_triton)
    for number, exit_ in enumerate(manifest.exits):
        if exit_.heads is not None:
            ramps = [(manifest.members[m], depth) for m, depth in manifest.ramps(number)]
            features = tuple(
                Tensor(features_name(member.name, depth), tensor.dtype, tensor.dims)
                for member, depth in ramps
                if (tensor := member.segments[depth - 1].features)
            )
            votes = tuple(Tensor(votes_name(m.name, depth), "float32", (manifest.classes,)) for m, depth in ramps)
            yield ModelPart(exit_.heads, number, 0, features, votes, in_triton and not manifest.controller_heads)


def first_rows(rows: Tensors, count: int) -> dict[str, np.ndarray]:
    """The first `count` rows of every input, repeated where there are fewer; only they are read."""
    return {name: np.resize(array[:count], (count, *array.shape[1:])) for name, array in rows.items()}


def run_parts(
    manifest: Manifest,
    rows: Tensors,
    run: Callable[[ModelPart, Tensors], Tensors],
    parts: Iterable[ModelPart] | None = None,
) -> dict[str, np.ndarray]:
    """Run segments and heads on some rows, each on what those before it made.

    Args:
        manifest: of the bag.
        rows: public input -> [rows, ...].
        run: runs one part on its inputs; gives its outputs by name. What needs an output that it leaves out is not run.
        parts: to run, in their order; None: all of the bag.

    Returns:
        `votes_name(member, depth)` -> probabilities, float32 [rows, classes], of every ramp and every member.
    """
    features: dict[str, np.ndarray] = {}
    votes: dict[str, np.ndarray] = {}
    by_member = [dict(rows) for _ in manifest.members]
    for part in parts_of(manifest) if parts is None else parts:
        at_hand = features if part.is_heads else by_member[part.number]
        if not all(tensor.name in at_hand for tensor in part.inputs):
            continue
        outputs = dict(run(part, {tensor.name: at_hand[tensor.name] for tensor in part.inputs}))
        if part.is_heads:
            votes |= outputs
            continue
        name = manifest.members[part.number].name
        if FEATURES in outputs:
            features[features_name(name, part.depth)] = outputs.pop(FEATURES)
        if PROBABILITIES in outputs:
            votes[votes_name(name, part.depth)] = outputs[PROBABILITIES]
        at_hand |= outputs
    return votes
