"""Names of the classes that a member's file itself knows, and a member's columns in the bag's order.

Where they come from: ZipMap and the *Classifier operators of ai.onnx.ml; metadata of the file (`names` of Ultralytics,
`id2label` of transformers); a config.json beside the file with `id2label`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt_export.readers.constants import constant
from exeunt_export.readers.scores import rename

_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_METADATA = ("names", "id2label", "labels", "classes")
_BESIDE = "config.json"


def names_in(model: ir.Model, path: Path) -> tuple[str, ...] | None:
    """The file's own names of its classes, in the order of its columns; None where it has none.

    Plain numbers 0, 1, 2, ... are none: they only count the columns.

    Args:
        model: as it was read, with its ZipMaps.
        path: its file.
    """
    for names in (_from_nodes(model), _from_metadata(model), _from_config(path)):
        if names and names != tuple(str(number) for number in range(len(names))):
            return names
    return None


def order_for(names: Sequence[str], labels: Sequence[str], where: str) -> np.ndarray | None:
    """For each of the bag's labels the number of the member's column; None where the columns are in that order.

    Args:
        names: classes, as the member's file names them.
        labels: the bag's labels.
        where: for messages.

    Raises:
        ConfigError: they are not the same classes.
    """
    if tuple(names) == tuple(labels):
        return None
    if len(names) != len(labels) or set(names) != set(labels):
        if all(name.lstrip("-").isdigit() for name in names):
            return None  # numbers are codes; the bag's labels say in words what they mean
        missing, more = sorted(set(labels) - set(names))[:3], sorted(set(names) - set(labels))[:3]
        raise ConfigError(
            f"{where}: the file names other classes than the bag's labels (not in the file: {missing}; only there: "
            f"{more}); members of a bag vote on the same classes"
        )
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[name] for name in labels], dtype=np.int64)


def reorder(model: ir.Model, order: np.ndarray) -> None:
    """Bring the columns of PROBABILITIES into another order.

    Args:
        model: changed in place.
        order: int64 [classes], the column that comes to each place.
    """
    graph = model.graph
    before = graph.outputs[0]
    rename(model, before, f"{PROBABILITIES}_in_own_order")
    index = constant(order, "exeunt_class_order", graph)
    node = ir.node("Gather", [before, index], attributes={"axis": 1}, name="in_the_bags_order")
    after = node.outputs[0]
    after.name, after.type, after.shape = PROBABILITIES, before.type, before.shape
    graph.append(node)
    graph.outputs[0] = after


def _from_nodes(model: ir.Model) -> tuple[str, ...] | None:
    for node in model.graph:
        if node.op_type != "ZipMap" and not node.op_type.endswith("Classifier"):
            continue
        for name in _ATTRIBUTES:
            attribute = node.attributes.get(name)
            values = list(attribute.value) if attribute is not None else []
            if values:
                return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values)
    return None


def _from_metadata(model: ir.Model) -> tuple[str, ...] | None:
    for key in _METADATA:
        text = model.metadata_props.get(key)
        if text and (names := _as_names(_parse(text))):
            return names
    return None


def _from_config(path: Path) -> tuple[str, ...] | None:
    beside = path.parent / _BESIDE
    if not beside.is_file() or beside.stat().st_size > 2**20:
        return None
    config = _parse(beside.read_text(encoding="utf-8", errors="replace"))
    return _as_names(config.get("id2label")) if isinstance(config, dict) else None


def _parse(text: str) -> object:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _as_names(names: object) -> tuple[str, ...] | None:
    """A list of names, or a table number -> name without gaps."""
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    if isinstance(names, dict) and names:
        try:
            numbered = {int(key): str(name) for key, name in names.items()}
        except (TypeError, ValueError):
            return None
        if sorted(numbered) == list(range(len(numbered))):
            return tuple(numbered[number] for number in range(len(numbered)))
    return None
