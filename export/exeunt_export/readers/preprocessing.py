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


def merge(model: ir.Model, before: ir.Model, path: Path, where: str) -> None:
    """Put `before` in front of a member: what it makes, the member takes; what it takes, clients send.

    Outputs and inputs meet by name, or as the only ones there are. Inputs of the member that `before` does not make
    stay; one that has the name of an input of `before` is the same input.

    Args:
        model: the member; changed in place.
        before: the preprocessing; used up.
        path: its file, for messages.
        where: the member's file, for messages.

    Raises:
        ConfigError: its outputs are not inputs of the member, in name or type, or it cannot be brought to the
            member's opset.
    """
    before = _at_opset(before, model, path, where)
    pairs = _meeting(model.graph, list(before.graph.outputs), path, where)
    taken = {value.name: value for value in model.graph.inputs}
    for node in before.graph:
        node.name = f"{_PREFIX}{node.name}"
        for value in node.outputs:
            value.name = f"{_PREFIX}{value.name}" if value.name else value.name
    for made, wanted in pairs:
        if made.dtype is not None and wanted.dtype is not None and made.dtype != wanted.dtype:
            raise ConfigError(
                f"{path}: output {made.name!r} is {made.dtype.name.lower()}, input {wanted.name!r} of {where} is "
                f"{wanted.dtype.name.lower()}; end the preprocessing with a Cast"
            )
        _replace(wanted, made)
        model.graph.inputs.remove(wanted)
        del taken[wanted.name]
    for value in list(before.graph.inputs):
        before.graph.inputs.remove(value)
        if value.name in taken:
            _replace(value, taken[value.name])
        else:
            model.graph.inputs.append(value)
    _move(before.graph, model.graph)


def _replace(old: ir.Value, new: ir.Value) -> None:
    ir.convenience.replace_all_uses_with(old, new)


def _meeting(graph: ir.Graph, made: Sequence[ir.Value], path: Path, where: str) -> list[tuple[ir.Value, ir.Value]]:
    """(output of the preprocessing, input of the member)."""
    wanted = {value.name: value for value in graph.inputs}
    if len(made) == 1 and len(wanted) == 1:
        return [(made[0], next(iter(wanted.values())))]
    for value in made:
        if value.name not in wanted:
            names = ", ".join(repr(name) for name in wanted)
            raise ConfigError(
                f"{path}: output {value.name!r} is no input of {where}; allowed: {names}, or one output for one input"
            )
    return [(value, wanted[value.name]) for value in made]


def _at_opset(before: ir.Model, model: ir.Model, path: Path, where: str) -> ir.Model:
    """The preprocessing at the member's opset: a graph has one."""
    wanted = model.graph.opset_imports.get("", onnxfiles.OPSET)
    for domain, version in before.graph.opset_imports.items():
        model.graph.opset_imports.setdefault(domain, version)
    found = before.graph.opset_imports.get("", wanted)
    if found == wanted:
        return before
    try:
        converted = version_converter.convert_version(ir.to_proto(before), wanted)
        onnx.checker.check_model(converted)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ConfigError(
            f"{path}: is of opset {found}, {where} of {wanted}, and cannot be converted: "
            f"{onnxfiles.first_line(error)}; export it at opset {wanted}"
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
