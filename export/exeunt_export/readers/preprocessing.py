"""Preprocessing as an ONNX graph of its own, merged into the front of a member before it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import version_converter

from exeunt.errors import ConfigError
from exeunt_export import onnxfiles

_PREFIX = "preprocess/"


def merge(model: ir.Model, preprocessing: ir.Model, path: Path, where: str) -> None:
    """Put `preprocessing` in front of a member: clients send its inputs, and its outputs feed the member.

    An output feeds the input of the same name; a single output feeds a single input. Other inputs of the member stay;
    an input of `preprocessing` and one of the member that share a name become one.

    Args:
        model: the member; changed in place.
        preprocessing: its graph; used up.
        path: its file, for messages.
        where: the member's file, for messages.

    Raises:
        ConfigError: its outputs are not inputs of the member, in name or type, or it cannot be brought to the
            member's opset.
    """
    preprocessing = _convert_opset(preprocessing, model, path, where)
    pairs = _matching_ends(model.graph, list(preprocessing.graph.outputs), path, where)
    member_inputs = {value.name: value for value in model.graph.inputs}
    for node in preprocessing.graph:
        node.name = f"{_PREFIX}{node.name}"
        for value in node.outputs:
            value.name = f"{_PREFIX}{value.name}" if value.name else value.name
    for output, input_ in pairs:
        if output.dtype is not None and input_.dtype is not None and output.dtype != input_.dtype:
            raise ConfigError(
                f"{path}: output {output.name!r} is {output.dtype.name.lower()}, input {input_.name!r} of {where} is "
                f"{input_.dtype.name.lower()}; end the preprocessing with a Cast"
            )
        ir.convenience.replace_all_uses_with(input_, output)
        model.graph.inputs.remove(input_)
        del member_inputs[input_.name]
    for value in list(preprocessing.graph.inputs):
        preprocessing.graph.inputs.remove(value)
        if value.name in member_inputs:
            ir.convenience.replace_all_uses_with(value, member_inputs[value.name])
        else:
            model.graph.inputs.append(value)
    _move(preprocessing.graph, model.graph)


def _matching_ends(
    graph: ir.Graph, outputs: Sequence[ir.Value], path: Path, where: str
) -> list[tuple[ir.Value, ir.Value]]:
    """(output of the preprocessing, input of the member)."""
    inputs = {value.name: value for value in graph.inputs}
    if len(outputs) == 1 and len(inputs) == 1:
        return [(outputs[0], next(iter(inputs.values())))]
    for value in outputs:
        if value.name not in inputs:
            names = ", ".join(repr(name) for name in inputs)
            raise ConfigError(
                f"{path}: output {value.name!r} is no input of {where}; allowed: {names}, or one output for one input"
            )
    return [(value, inputs[value.name]) for value in outputs]


def _convert_opset(preprocessing: ir.Model, model: ir.Model, path: Path, where: str) -> ir.Model:
    """The preprocessing at the member's opset: a graph has one."""
    member_opset = model.graph.opset_imports.get("", onnxfiles.OPSET)
    for domain, version in preprocessing.graph.opset_imports.items():
        model.graph.opset_imports.setdefault(domain, version)
    opset = preprocessing.graph.opset_imports.get("", member_opset)
    if opset == member_opset:
        return preprocessing
    try:
        converted = version_converter.convert_version(ir.to_proto(preprocessing), member_opset)
        onnx.checker.check_model(converted)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ConfigError(
            f"{path}: is of opset {opset}, {where} of {member_opset}, and cannot be converted: "
            f"{onnxfiles.first_line(error)}; export it at opset {member_opset}"
        ) from None
    return ir.from_proto(converted)


def _move(source: ir.Graph, target: ir.Graph) -> None:
    """All nodes and constants of a graph to the front of another."""
    for value in list(source.initializers.values()):
        source.initializers.pop(value.name or "")
        value.name = f"{_PREFIX}{value.name}"
        target.register_initializer(value)
    nodes = list(source)
    source.outputs.clear()
    source.remove(nodes)
    target.insert_before(next(iter(target)), nodes)
    for number, node in enumerate(target):
        node.name = f"exeunt_node_{number}"
