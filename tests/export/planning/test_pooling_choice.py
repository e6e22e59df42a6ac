"""Which pooling a cut gets: on nets whose answer is a matter of the largest value, or of the mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from exeunt.contract import FEATURES
from exeunt_export.bagfile.bagfile import BagFile, BagMember, Cuts, Serving
from exeunt_export.export_bag import export_bag
from exeunt_export.report.export_report import ExportReport
from tests.export.graphs import Net

CLASSES, SIDE = 4, 32


def spots(rows: int, seed: int) -> np.ndarray:
    """Images of one bright spot somewhere, in one of the classes' four brightnesses, among many faint ones."""
    rng = np.random.default_rng(seed)
    images = np.abs(rng.normal(size=(rows, 1, SIDE, SIDE)) * rng.uniform(0.0, 0.5, size=(rows, 1, 1, 1)))
    places = rng.integers(0, SIDE, size=(rows, 2))
    images[np.arange(rows), 0, places[:, 0], places[:, 1]] = 3.0 + rng.integers(0, CLASSES, rows)
    return images.astype(np.float32)


def net_of(path: Path, last: str) -> Path:
    """Brightness goes through many layers unchanged; `last` pools it, and the classes are its levels."""
    net = Net(0, ("rows", 1, SIDE, SIDE))
    x = net.node("Relu", net.node("Conv", net.input, net.constant(np.ones((8, 1, 1, 1), np.float32))))
    for _ in range(6):
        weight = np.zeros((8, 8, 3, 3), np.float32)
        weight[range(8), range(8), 1, 1] = 1.0
        x = net.node("Relu", net.node("Conv", x, net.constant(weight), pads=[1] * 4, kernel_shape=[3, 3]))
    flat = net.node("Flatten", net.node(last, x), axis=1)
    unit = 1.0 if last == "GlobalMaxPool" else 0.1
    levels = unit * np.arange(CLASSES) + (3.0 if last == "GlobalMaxPool" else 0.05)
    weight = np.repeat(levels[None], 8, axis=0) * 20 / 8 / unit**2
    bias = -10 * levels**2 / unit**2  # the nearest level wins
    return net.save(
        path, net.node("Gemm", flat, net.constant(weight.astype(np.float32)), net.constant(bias.astype(np.float32)))
    )


def exported(folder: Path, last: str) -> ExportReport:
    member = BagMember("a", net_of(folder / "a.onnx", last), 1.0)
    cuts = Cuts(exits=2, ramp_budget=10.0, times="counted")
    serving = Serving(max_batch_size=2, baseline=False)
    bag = BagFile(where="bag", name="spots", members=(member,), samples=None, mode="engine", cuts=cuts, serving=serving)
    return export_bag(bag, folder / "repository", samples=spots(400, 0))


@pytest.fixture(scope="module")
def of_maxima(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return exported(tmp_path_factory.mktemp("max"), "GlobalMaxPool")


def test_maxima_are_taken_where_they_let_more_rows_leave(of_maxima: ExportReport) -> None:
    assert {(cut.pool, cut.features) for cut in of_maxima.cuts} == {("max", 8)}


def test_means_stay_where_maxima_gain_nothing(tmp_path: Path) -> None:
    assert {cut.pool for cut in exported(tmp_path, "GlobalAveragePool").cuts} == {"mean"}


def test_the_written_segments_give_the_chosen_features(of_maxima: ExportReport) -> None:
    images = spots(5, 1)
    folder = of_maxima.output / "spots_exit/1"
    segment = of_maxima.manifest.members[0].segments[0]
    session = ort.InferenceSession(folder / f"{segment.model}.onnx")
    (input_,) = session.get_inputs()
    outputs = session.run([FEATURES], {input_.name: images})[0]
    np.testing.assert_allclose(outputs, np.repeat(images.max(axis=(2, 3)), 8, axis=1), rtol=1e-5)
    assert segment.features is not None and segment.features.dims == (8,)
