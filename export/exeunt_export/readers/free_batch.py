"""Any number of rows for members whose file fixes the batch dimension, has none, or does not say.

A file with a batch of N is freed: the first dimension of its inputs becomes symbolic, and constants that repeat N
(targets of Reshape and Expand, tokens that are joined to every row) follow it. The result is compared with the file as
it was. Where this fails for N = 1, or there is no batch dimension at all, the whole graph becomes the body of a Scan
over rows. That is exact for every graph, but such a member has no cuts. Some files declare a free batch on their
inputs, but fix the N of the exporter's example in inner nodes. These are freed in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from exeunt.bag_parts import first_rows
from exeunt.errors import ConfigError
from exeunt_export import onnxfiles
from exeunt_export.readers.constants import constant, shape_with_rows

_ROWS = 7  # on which a freed graph is compared with its file
_SCAN_OPSET = 11  # from here on Scan has its present form
_CURE = 'export it with a dynamic batch dimension (torch: dynamic_shapes={"x": {0: torch.export.Dim("rows")}})'


def with_free_batch(model: ir.Model, samples: Mapping[str, np.ndarray], where: str) -> tuple[ir.Model, str]:
    """A model that takes any number of rows, and a remark for the operator, "" where it did before.

    Args:
        model: as it was read; may be changed in place.
        samples: input name -> real rows, [rows, ...]; inputs without are left alone.
        where: for messages.

    Raises:
        ConfigError: the batch is fixed, at more than 1 or inside only, and cannot be freed.
    """
    inputs = [(value, samples[value.name or ""]) for value in model.graph.inputs if value.name in samples]
    for value, rows in inputs:
        if value.shape is None:
            value.shape = ir.Shape(["rows", *rows.shape[1:]])
    shapes = [(value.shape or ir.Shape([]), rows) for value, rows in inputs]
    if shapes and len(shapes) == len(model.graph.inputs) and all(len(s) == r.ndim - 1 for s, r in shapes):
        return _scan_over_rows(model, False), f"{where}: no batch dimension: it runs row by row, whole"
    fixed = {s[0] for s, r in shapes if len(s) == r.ndim and isinstance(s[0], int)}
    some_free = any(len(s) == r.ndim and not isinstance(s[0], int) for s, r in shapes)
    if len(inputs) < len(model.graph.inputs) or len(fixed) > 1 or (some_free and fixed - {1}):
        return model, ""  # the reader of the inputs reports it
    table = {value.name or "": rows for value, rows in inputs}
    if not fixed:
        return _free_inner_nodes(model, table, where)
    (batch,) = fixed
    _check_rows_out(model, table, int(batch), where)
    freed = _free_batch(_fold_constants(model), int(batch))
    problem = _first_difference(model, freed, table, int(batch), where)
    if not problem:
        return freed, ""
    if batch != 1:
        raise ConfigError(f"{where}: its batch dimension is fixed at {batch} and cannot be freed: {problem}; {_CURE}")
    return _scan_over_rows(model, True), _remark(where)


def _check_rows_out(model: ir.Model, samples: Mapping[str, np.ndarray], batch: int, where: str) -> None:
    """Refuse a file that makes several answers of one row, as a labeller of sequences does."""
    session = onnxfiles.open_in_memory(model, where)
    for name, array in onnxfiles.run(session, first_rows(samples, batch), where).items():
        _check_not_transposed(name, array, batch, where)
        if array.ndim >= 2 and array.shape[0] > batch:
            raise ConfigError(
                f"{where}: {batch} row{'s' * (batch > 1)} in, {array.shape[0]} out (output {name!r}, shape "
                f"{list(array.shape)}): it answers parts of an input, as a labeller of sequences does; allowed: "
                "classifiers, one answer for each row"
            )


def _check_not_transposed(name: str, array: np.ndarray, rows: int, where: str) -> None:
    if array.ndim == 2 and array.shape[1] == rows < array.shape[0]:
        raise ConfigError(
            f"{where}: {rows} row{'s' * (rows > 1)} in, an output {name!r} of {list(array.shape)}: classes stand where "
            "rows should; transpose it to [rows, classes]"
        )


def _check_outputs_not_transposed(session: ort.InferenceSession, samples: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse outputs whose second axis follows the rows, and whose first does not."""
    rows_out = _rows_out(session, samples, 1, where)
    if rows_out is not None and rows_out == _rows_out(session, samples, _ROWS, where):
        for name, array in onnxfiles.run(session, first_rows(samples, 1), where).items():
            _check_not_transposed(name, array, 1, where)


def _remark(where: str) -> str:
    return f"{where}: its batch dimension is fixed at 1 inside: it runs row by row, whole; {_CURE}"


def _free_inner_nodes(model: ir.Model, samples: Mapping[str, np.ndarray], where: str) -> tuple[ir.Model, str]:
    """As `with_free_batch`, where inputs promise any number of rows and something inside may be made for N."""
    suspects = _possible_batches(model)
    if not suspects:
        return model, ""
    session = onnxfiles.open_in_memory(model, where)
    if all(_rows_out(session, samples, rows, where) == {rows} for rows in (1, _ROWS)):
        for value in model.graph.outputs:
            if value.shape is not None and len(value.shape):  # what an exporter took from its example
                value.shape = ir.Shape(["rows", *value.shape[1:]])
        return model, ""
    _check_outputs_not_transposed(session, samples, where)
    problem, running = "", [suspect for suspect in suspects if _rows_out(session, samples, suspect, where) == {suspect}]
    for batch in running:
        freed = _free_batch(_fold_constants(model), batch)
        problem = _first_difference(model, freed, samples, batch, where)
        if not problem:
            return freed, ""
    if not running:
        return model, ""  # it fails for another reason; scores.py reports it
    if 1 in running and _rows_out(session, samples, _ROWS, where) is None:  # else it makes one answer of many rows
        for value in model.graph.inputs:
            value.shape = ir.Shape([1, *(value.shape or ())[1:]])
        return _scan_over_rows(model, True), _remark(where)
    raise ConfigError(
        f"{where}: its inputs take any number of rows, but inside the batch is fixed at {running[-1]} and cannot be "
        f"freed: {problem}; {_CURE}"
    )


def _possible_batches(model: ir.Model) -> list[int]:
    """Sizes, ascending, that may be a batch.

    They are the first dimensions of the outputs, of what is joined to rows, and of the shapes rows are brought to.
    """
    leading = {value.shape[0] for value in model.graph.outputs if value.shape is not None and len(value.shape)}
    fed: set[ir.Value | None] = set(model.graph.inputs)
    for node in model.graph:
        if not fed.intersection(node.inputs):
            continue
        fed.update(node.outputs)
        if node.op_type == "Concat":
            leading.update(shape[0] for shape in map(_constant_shape, node.inputs) if len(shape) > 2)
        if node.op_type in ("Reshape", "Expand") and node.inputs[0] in fed and node.inputs[1] is not None:
            maker = node.inputs[1].producer()
            entry = maker.inputs[0] if maker is not None and maker.op_type == "Concat" else node.inputs[1]
            target = entry.const_value if entry is not None else None
            if target is not None and target.size:
                leading.add(int(target.numpy().reshape(-1)[0]))
    sizes = {size for size in leading if isinstance(size, int) and size > 0}
    return sorted(sizes | {1}) if sizes else []  # of an example of one row, the 1 may stand elsewhere


def _rows_out(
    session: ort.InferenceSession, samples: Mapping[str, np.ndarray], rows: int, where: str
) -> set[int] | None:
    """How many rows the outputs have for `rows` rows of input; None where the model fails on that many."""
    try:
        outputs = onnxfiles.run(session, first_rows(samples, rows), where)
    except ConfigError:
        return None
    return {len(output) if output.ndim else 0 for output in outputs.values()}


def _fold_constants(model: ir.Model) -> ir.Model:
    """A copy in which what follows from constants and fixed shapes is a constant: exporters leave both behind."""
    import onnxscript.optimizer  # slow to import

    copy = model.clone()
    onnxscript.optimizer.optimize_ir(copy)
    return copy


def _free_batch(model: ir.Model, batch: int) -> ir.Model:
    """Let inputs of `batch` rows, and the constants that repeat that number, take any number; changes the model."""
    graph = model.graph
    batched = {value for value in graph.inputs if value.shape and value.shape[0] == batch}
    source = next((value for value in graph.inputs if value in batched), graph.inputs[0])
    for value in batched:
        value.shape = ir.Shape(["rows", *(value.shape or ())[1:]])
    for node in list(graph):
        if node.op_type in ("Reshape", "Expand") and len(node.inputs) > 1:
            _free_target(graph, node, batch)
        if node.op_type == "Concat" and batch == 1:
            _repeat_constants(graph, node, source)
        for value in node.outputs:
            value.shape = None
    for value in graph.outputs:
        value.shape = None
    return model


def _free_target(graph: ir.Graph, node: ir.Node, batch: int) -> None:
    """Let a constant target shape that starts with the batch follow the tensor's own first dimension."""
    const_value = node.inputs[1].const_value if node.inputs[1] is not None else None
    if const_value is None or const_value.size < 2 or int(const_value.numpy()[0]) != batch:
        return
    target = const_value.numpy().copy()
    target[0] = 1 if node.op_type == "Expand" else 0 if (target == -1).any() else -1
    if node.op_type == "Expand" and batch != 1:
        return  # it would have to repeat; the comparison tells
    new = constant(target.astype(np.int64), f"{node.name}_target", graph)
    node.replace_input_with(1, new)


def _repeat_constants(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    """Repeat a learnt token of shape [1, ...] for every row where it is joined to the rows' own."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    for number, value in enumerate(node.inputs):
        shape = _constant_shape(value)
        if value is None or axis == 0 or len(shape) < 3 or shape[0] != 1:
            continue
        prefix = f"{node.name}_{number}"
        shape_nodes = shape_with_rows(source, [1] * (len(shape) - 1), prefix, graph)
        repeated = ir.node("Expand", [value, shape_nodes[-1].outputs[0]], name=f"{prefix}_repeated")
        repeated.outputs[0].name = f"{repeated.name}_value"
        graph.insert_before(node, [*shape_nodes, repeated])
        node.replace_input_with(number, repeated.outputs[0])


def _constant_shape(value: ir.Value | None) -> tuple[int, ...]:
    """Shape of a constant, or of one that was expanded to the file's batch; () for anything else."""
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type == "Expand":
        value = producer.inputs[0]
    const_value = value.const_value if value is not None else None
    return tuple(int(size) for size in const_value.shape.numpy()) if const_value is not None else ()


def _first_difference(
    model: ir.Model, freed: ir.Model, samples: Mapping[str, np.ndarray], batch: int, where: str
) -> str:
    """Where the freed model, run on 1 row and on many, differs from the file run on `batch` rows; "" if nowhere."""
    count = -(-_ROWS // batch) * batch + batch
    rows = first_rows(samples, count)
    batches = [{n: row[start : start + batch] for n, row in rows.items()} for start in range(0, count, batch)]
    session = onnxfiles.open_in_memory(model, where)
    parts = [onnxfiles.run(session, fed, where) for fed in batches]
    try:
        session = onnxfiles.open_in_memory(freed, where)
        one, many = (onnxfiles.run(session, {n: row[:rows_] for n, row in rows.items()}, where) for rows_ in (1, count))
    except ConfigError as error:
        return str(error)
    for name, first in parts[0].items():
        expected = np.concatenate([part[name] for part in parts]) if first.ndim else first
        for of_freed, of_file in ((one[name], expected[:1] if first.ndim else first), (many[name], expected)):
            if of_freed.shape != of_file.shape:
                return f"{name} has shape {list(of_freed.shape)} instead of {list(of_file.shape)}"
            if of_freed.dtype.kind == "f" and not np.allclose(of_freed, of_file, rtol=1e-3, atol=1e-4, equal_nan=True):
                return f"{name} differs"
    return ""


def _scan_over_rows(model: ir.Model, unsqueeze: bool) -> ir.Model:
    """The model as the body of a Scan over rows; its weights become the outer graph's, which the body captures."""
    body = model.graph
    weights = list(body.initializers.values())
    for value in weights:
        del body.initializers[value.name or ""]
    outer_inputs: list[ir.Value] = []
    for value in list(body.inputs):
        dims = list(value.shape or ())[1 if unsqueeze else 0 :]
        outer_inputs.append(ir.Value(name=value.name, type=value.type, shape=ir.Shape(["rows", *dims])))
        value.name = f"{value.name}_of_one_row"
    if unsqueeze:
        weights += _unsqueeze_ends(body)
    names = [value.name or "" for value in body.outputs]
    kinds = [value.type for value in body.outputs]
    for value in body.outputs:
        value.name = f"{value.name}_of_one_row"
    attributes: dict[str, ir.Graph | int] = {"body": body, "num_scan_inputs": len(outer_inputs)}
    scan = ir.node("Scan", outer_inputs, attributes=attributes, num_outputs=len(names), name="rows_one_by_one")
    for value, name, kind in zip(scan.outputs, names, kinds, strict=True):
        value.name, value.type = name, kind
    opsets = dict(model.opset_imports)
    opsets[""] = max(opsets.get("", _SCAN_OPSET), _SCAN_OPSET)
    graph = ir.Graph(outer_inputs, scan.outputs, nodes=[scan], initializers=weights, opset_imports=opsets, name="rows")
    return ir.Model(graph, ir_version=model.ir_version, producer_name=model.producer_name)


def _unsqueeze_ends(body: ir.Graph) -> Sequence[ir.Value]:
    """Give a body of batch 1 inputs and outputs without it, by Reshape: the same operator in every opset."""
    weights = []
    for value in list(body.inputs):
        dims = [d if isinstance(d, int) else -1 for d in (value.shape or ())]
        inner = ir.node("Reshape", [value, target := constant(np.array(dims), f"{value.name}_target")])
        inner.outputs[0].name = f"{value.name}_batch"
        ir.convenience.replace_all_uses_with(value, inner.outputs[0])
        inner.replace_input_with(0, value)
        value.shape = ir.Shape(dims[1:])
        body.insert_before(body[0], inner)
        weights.append(target)
    for number, value in enumerate(list(body.outputs)):
        target = constant(np.array([-1]), f"{value.name}_target")  # one row of scores
        inner = ir.node("Reshape", [value, target])
        inner.outputs[0].name, inner.outputs[0].type = f"{value.name}_row", value.type
        body.append(inner)
        body.outputs[number] = inner.outputs[0]
        weights.append(target)
    return weights
