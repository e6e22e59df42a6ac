"""Tiny ONNX members in files, with their manifest, for tests of the engine without an export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exeunt.contract import FEATURES, PROBABILITIES, features_name, heads_model, segment_model, votes_name
from exeunt.manifest import Exit, Manifest, Member, Segment, Tensor
from exeunt.settings import Settings

WIDTH, CLASSES = 6, 4
X = Tensor("x", "float32", (WIDTH,))


def _value(name: str, width: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", width]))


def _save(path: Path, inputs: list[ir.Value], outputs: list[ir.Value], nodes: list[ir.Node], weights: list[ir.Value]):
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=weights, opset_imports={"": 17}, name=path.stem)
    ir.save(ir.Model(graph, ir_version=8), str(path))


def _weight(name: str, rng: np.random.Generator, shape: tuple[int, int]) -> ir.Value:
    tensor = ir.Tensor(rng.standard_normal(shape).astype(np.float32), name=name)
    return ir.Value(name=name, const_value=tensor, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))


def _softmax(of: ir.Value, weight: ir.Value, name: str) -> tuple[list[ir.Node], ir.Value]:
    scores, out = _value(f"{name}_scores", CLASSES), _value(name, CLASSES)
    return [ir.node("MatMul", [of, weight], outputs=[scores]), ir.node("Softmax", [scores], outputs=[out])], out


def _segment(folder: Path, model: str, text: str, cut: str, last: bool, rng: np.random.Generator) -> None:
    """tanh(x W) to the next cut, whose features are the cut itself; the last segment ends with a softmax."""
    x, weight = _value(text, WIDTH), _weight("w", rng, (WIDTH, WIDTH))
    product, out = _value("product", WIDTH), _value(cut, WIDTH)
    nodes = [ir.node("MatMul", [x, weight], outputs=[product]), ir.node("Tanh", [product], outputs=[out])]
    weights, outputs = [weight], [out]
    if last:
        head = _weight("head", rng, (WIDTH, CLASSES))
        more, probabilities = _softmax(out, head, PROBABILITIES)
        nodes, weights, outputs = nodes + more, [weight, head], [probabilities]
    else:
        features = _value(FEATURES, WIDTH)
        nodes.append(ir.node("Identity", [out], outputs=[features]))
        outputs.append(features)
    _save(folder / f"{model}.onnx", [x], outputs, nodes, weights)


def _heads(folder: Path, model: str, pairs: list[tuple[str, int]], seed: int) -> None:
    inputs, outputs, nodes, weights = [], [], [], []
    for name, depth in pairs:
        rng = np.random.default_rng([seed, depth, *name.encode()])
        features = _value(features_name(name, depth), WIDTH)
        weight = _weight(f"{name}.{depth}.w", rng, (WIDTH, CLASSES))
        more, out = _softmax(features, weight, votes_name(name, depth))
        inputs, outputs, nodes, weights = [*inputs, features], [*outputs, out], nodes + more, [*weights, weight]
    _save(folder / f"{model}.onnx", inputs, outputs, nodes, weights)


def written(folder: Path, exits: tuple[tuple[int, ...], ...], seed: int = 0, **settings: object) -> Manifest:
    """Write a bag whose exits have the depths `exits`; the last gives each member's number of segments."""
    rng = np.random.default_rng(seed)
    members = []
    for number, depth in enumerate(exits[-1]):
        name = f"m{number}"
        segments = []
        for step in range(1, depth + 1):
            model, last = segment_model("bag", name, step), step == depth
            input_tensor = X if step == 1 else Tensor(f"{name}_cut{step - 1}", "float32", (WIDTH,))
            cut = (
                Tensor(PROBABILITIES, "float32", (CLASSES,))
                if last
                else Tensor(f"{name}_cut{step}", "float32", (WIDTH,))
            )
            _segment(folder, model, input_tensor.name, f"{name}_cut{step}", last, rng)
            features = None if last else Tensor(FEATURES, "float32", (WIDTH,))
            segments.append(Segment(model, (input_tensor,), (cut,), features, {1: 50.0, 8: 100.0}))
        members.append(Member(name, 1.0 + number, tuple(segments), None))
    manifest_exits = []
    for number, depths in enumerate(exits):
        midway = [(m.name, d) for m, d in zip(members, depths, strict=True) if 0 < d < m.depth]
        heads = heads_model("bag", number) if midway else None
        if heads:
            _heads(folder, heads, midway, seed)
        manifest_exits.append(Exit(depths, heads, {1: 100.0 * (number + 1)}, {1: 1.0}, 0.9))
    all_settings = Settings(**({"shadow_share": 0.0, "lossless": False} | settings))
    labels = tuple(f"class {k}" for k in range(CLASSES))
    return Manifest(
        "bag", "engine", "soft", "parallel", (X,), labels, 16, tuple(members), tuple(manifest_exits), all_settings, ""
    )


def without_profile(bag: Manifest) -> Manifest:
    """The same bag as if nothing had been measured."""
    members = tuple(
        dataclasses.replace(m, segments=tuple(dataclasses.replace(segment, cost_us={}) for segment in m.segments))
        for m in bag.members
    )
    return dataclasses.replace(bag, members=members)
