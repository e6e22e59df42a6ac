"""What one more call costs, with the cut tensor out of one ensemble and into the next."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from tritonclient import grpc

from exeunt.manifest import Tensor
from exeunt.serving.pip_server import Server, serve
from exeunt_export.bagfile.bagfile import Serving
from exeunt_export.writing import configs

CALLER = Path(__file__).with_name("caller.py")
MOST_ROWS = 32
INPUT, VOTE = Tensor("INPUT", "float32", (1,)), Tensor("VOTE", "float32", (1,))


@dataclass(frozen=True, slots=True)
class Crossing:
    """Calls of one size.

    Attributes:
        cut_kb: of the cut tensor, one row.
        rows: of a call.
        whole_ms, halves_ms: of one call, and of two with the cut between them; float64 [turns].
    """

    cut_kb: float
    rows: int
    whole_ms: np.ndarray
    halves_ms: np.ndarray

    @property
    def extra_ms(self) -> float:
        """Median of what the second call and the crossing add, turn by turn."""
        return float(np.median(self.halves_ms - self.whole_ms))


def measured(cuts_kb: Sequence[float], rows: Sequence[int], rounds: int, turns: int) -> list[Crossing]:
    """Crossings of every size, all sizes in turns, on one server.

    Args:
        cuts_kb: KiB of the cut tensor for one row.
        rows: of a call, at most MOST_ROWS.
        rounds: through all sizes.
        turns: of one size in one round.
    """
    with tempfile.TemporaryDirectory(prefix="exeunt-crossing-") as folder:
        repository = Path(folder) / "repository"
        for number, cut_kb in enumerate(cuts_kb):
            _write(repository, f"c{number}", int(256 * cut_kb))
        with serve(repository) as server:
            sizes = [(number, count) for number in range(len(cuts_kb)) for count in rows]
            times: dict[tuple[int, int], list[np.ndarray]] = {size: [] for size in sizes}
            for _ in range(rounds):
                for size in sizes:
                    times[size].append(_ask(server, *size, turns))
    times_ms = {size: np.concatenate(parts) for size, parts in times.items()}
    return [Crossing(cuts_kb[number], count, *times_ms[number, count].T) for number, count in sizes]


def _ask(server: Server, number: int, rows: int, turns: int) -> np.ndarray:
    """float64 [turns, ways] in ms; the first turns of a size warm up and do not count."""
    warm_up = 2
    with grpc.InferenceServerClient(server.grpc_url) as client:
        inputs = [grpc.InferInput("INPUT", [rows, 1], "FP32"), grpc.InferInput("TURNS", [1, 1], "INT64")]
        inputs[0].set_data_from_numpy(np.ones((rows, 1), dtype=np.float32))
        inputs[1].set_data_from_numpy(np.full((1, 1), turns + warm_up, dtype=np.int64))
        times_ms: np.ndarray = client.infer(f"c{number}_caller", inputs).as_numpy("TIMES_MS")
    return times_ms[warm_up:]


def _write(repository: Path, name: str, width: int) -> None:
    """Two models that do next to nothing, with a cut of `width` floats between them, and ensembles of them."""
    serving = Serving(max_batch_size=MOST_ROWS, kind="cpu")
    cut = Tensor("CUT", "float32", (width,))
    halves = {"s1": (INPUT, cut, _widen(width)), "s2": (cut, VOTE, _narrow(width))}
    for half, (before, after, model) in halves.items():
        configs.write(configs.onnx_model(serving, [before], [after]), repository / f"{name}_{half}")
        ir.save(model, repository / f"{name}_{half}" / "1" / "model.onnx")
    for ensemble_name, steps in {"whole": ("s1", "s2"), "begin": ("s1",), "rest": ("s2",)}.items():
        ensemble = configs.Ensemble(serving, [halves[steps[0]][0]], [halves[steps[-1]][1]])
        for step in steps:
            before, after, _ = halves[step]
            ensemble.step(f"{name}_{step}", {before.name: before.name}, {after.name: after.name})
        configs.write(ensemble.config, repository / f"{name}_{ensemble_name}")
    config = configs.onnx_model(serving, [INPUT, Tensor("TURNS", "int64", (1,))], [Tensor("TIMES_MS", "float64", (2,))])
    config.backend, config.max_batch_size = "python", 0
    config.ClearField("dynamic_batching")
    config.ClearField("model_warmup")
    for tensor in (*config.input, *config.output):
        tensor.dims[:] = [-1, tensor.dims[0]]
    configs.write(config, repository / f"{name}_caller")
    shutil.copyfile(CALLER, repository / f"{name}_caller" / "1" / "model.py")


def _widen(width: int) -> ir.Model:
    row = np.zeros((1, width), dtype=np.float32)
    return _model("Add", ("INPUT", (1,)), ("CUT", (width,)), ir.tensor(row, name="row"))


def _narrow(width: int) -> ir.Model:
    column = np.full((width, 1), 1.0 / width, dtype=np.float32)
    return _model("MatMul", ("CUT", (width,)), ("VOTE", (1,)), ir.tensor(column, name="column"))


def _model(
    operator: str, input_: tuple[str, tuple[int]], output: tuple[str, tuple[int]], constant: ir.Tensor
) -> ir.Model:
    float32 = ir.TensorType(ir.DataType.FLOAT)
    values: Iterator[ir.Value] = (
        ir.Value(name=name, shape=ir.Shape(["rows", *dims]), type=float32) for name, dims in (input_, output)
    )
    before, after = values
    weights = ir.Value(name=constant.name, shape=constant.shape, type=float32, const_value=constant)
    node = ir.Node("", operator, [before, weights], outputs=[after])
    graph = ir.Graph([before], [after], nodes=[node], initializers=[weights], opset_imports={"": 17}, name="half")
    return ir.Model(graph, ir_version=9)
