"""Attention members in 8 and 16 bits: cut from early on, and every cut keeps their labels."""

import warnings

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from exeunt_export.counting import COUNTED
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.cuts import candidates
from exeunt_export.cutting.split import make_cut, split
from exeunt_export.cutting.verify import verify_labels
from exeunt_export.nodecosts import measure
from exeunt_export.onnxfiles import open_in_memory, run, save
from exeunt_export.planning.plan import MeasuredMember
from exeunt_export.readers.graph import load_member
from exeunt_export.torch_modules import save_module
from tests.architectures.attention import TOKENS, VOCABULARY, Attention, bert
from tests.export.graphs import Net

CLASSES = 8
RNG = np.random.default_rng(0)
TEXT = {
    "input_ids": RNG.integers(3, VOCABULARY, size=(40, TOKENS)),
    "attention_mask": np.ones((40, TOKENS), np.int64),
}
SPEECH = {"x": RNG.normal(size=(40, 20, 32)).astype(np.float32)}


class Reader(CalibrationDataReader):
    def __init__(self, rows):
        self.parts = iter([{name: row[start : start + 8] for name, row in rows.items()} for start in range(0, 40, 8)])

    def get_next(self):
        return next(self.parts, None)


class Speech(torch.nn.Module):
    """Pre-norm attention over frames, residuals all along, no mask."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(*(Attention(32, 4) for _ in range(3)))
        self.head = torch.nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.head(self.blocks(x).mean(dim=1))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    return {
        "text": (save_module(bert(CLASSES, layers=3), TEXT, folder / "text.onnx"), TEXT, folder / "text.onnx"),
        "speech": (save_module(Speech(), SPEECH, folder / "speech.onnx"), SPEECH, folder / "speech.onnx"),
    }


KINDS = {
    "shared": {},
    "dedicated": {"extra_options": {"DedicatedQDQPair": True}},
    "signed": {"activation_type": QuantType.QInt8},
    "products only": {"op_types_to_quantize": ["MatMul"]},
    "16 bits": {"activation_type": QuantType.QUInt16, "extra_options": {"UseQDQContribOps": True}},
}


@pytest.fixture(scope="module", params=[(net, kind) for net in ("text", "speech") for kind in KINDS], ids=str)
def quantised(request, plain, tmp_path_factory):
    net, kind = request.param
    _, rows, file = plain[net]
    quantised_file = tmp_path_factory.mktemp("made") / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(file, quantised_file, Reader(rows), per_channel=False, reduce_range=True, **KINDS[kind])
    member = load_member("m", quantised_file, rows)
    return MeasuredMember.of(member, measure(member.model, rows, "m", COUNTED)), rows


def test_it_can_be_cut_from_early_on_and_everywhere(quantised):
    shares = [0.0, *(place.share for place in candidates(list(quantised[0].boundaries), 2)), 1.0]
    assert shares[1] < 0.2
    assert max(np.diff(shares)) < 0.3


def test_every_few_cuts_keep_the_labels(quantised, tmp_path):
    measured, rows = quantised
    places = candidates(list(measured.boundaries), 2)
    for number, place in enumerate(places[:: max(1, len(places) // 6)]):
        parts = split(measured.member, [make_cut(measured.member, place, CLASSES, (1,))])
        files = [tmp_path / f"{number}_{piece}.onnx" for piece in range(2)]
        for piece, file in zip(parts.pieces, files, strict=True):
            save(piece.model, file)
        save(parts.reference, tmp_path / f"{number}.onnx")
        verify_labels(Chain("m", files), tmp_path / f"{number}.onnx", rows)


def behind_quantiser(path, **attributes):
    """Sizes read off the dequantised input, as a quantiser leaves them, and used until the end."""
    net = Net(0, ("rows", 6, 8), "x")
    scale, zero = net.constant(np.float32(0.05)), net.constant(np.uint8(128))
    real_input = net.node("DequantizeLinear", net.node("QuantizeLinear", net.input, scale, zero), scale, zero)
    size = net.node("Shape", real_input, **attributes)
    if "end" not in attributes:
        size = net.node("Slice", size, *(net.constant(np.array([n])) for n in (0, 1)))
    target = net.node("Concat", size, net.constant(np.array([6, 8])), axis=0)
    x = real_input
    for _ in range(4):
        x = net.node("Reshape", net.node("Relu", net.node("MatMul", x, net.weight(8, 8))), target)
    return net.save(
        path, net.node("MatMul", net.node("ReduceMean", x, net.constant(np.array([1])), keepdims=0), net.weight(8, 5))
    )


@pytest.mark.parametrize("attributes", [{}, {"start": 0, "end": 1}], ids=str)
def test_sizes_of_a_dequantised_input_are_read_off_the_input(tmp_path, attributes):
    rows = {"x": RNG.normal(size=(8, 6, 8)).astype(np.float32)}
    member = load_member("m", behind_quantiser(tmp_path / "m.onnx", **attributes), rows)
    measured = MeasuredMember.of(member, measure(member.model, rows, "m", COUNTED))
    assert not [place.usable for place in measured.boundaries if "no batch dimension" in place.usable]
    shapes = [node.inputs[0] for node in member.model.graph if node.op_type == "Shape"]
    assert all(isinstance(value, ir.Value) and value.is_graph_input() for value in shapes)


@pytest.mark.parametrize("part", [(0, 1), (0, 2), (1, 3), (1, 2), (-1, 3)])
def test_parts_of_a_shape_inside_are_those_of_the_tensor(tmp_path, part):
    net = Net(0, ("rows", 6, 8), "x")
    inner = net.node("Relu", net.node("MatMul", net.input, net.weight(8, 4)))
    size = net.node("Cast", net.node("Shape", inner, start=part[0], end=part[1]), to=ir.DataType.FLOAT.value)
    mean = net.node("ReduceMean", inner, net.constant(np.array([1])), keepdims=0)
    total = net.node("ReduceSum", size, keepdims=0)
    per_row = net.node("Mul", mean, net.node("Add", total, net.constant(np.float32(1))))
    path = net.save(tmp_path / "m.onnx", net.node("Softmax", net.node("MatMul", per_row, net.weight(4, 5)), axis=1))
    rows = {"x": RNG.normal(size=(1, 6, 8)).astype(np.float32)}
    member = load_member("m", path, rows)
    before = run(open_in_memory(member.model, "m"), rows, "m")["PROBABILITIES"]
    MeasuredMember.of(member, measure(member.model, rows, "m", COUNTED))
    np.testing.assert_allclose(run(open_in_memory(member.model, "m"), rows, "m")["PROBABILITIES"], before, rtol=1e-5)
