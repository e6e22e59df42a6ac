"""Files whose header is old or odd, and whose graph is sound: they are read like any other."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exeunt_export import onnxfiles
from exeunt_export.readers.graph import load_member
from tests.export.readers.test_silent_faults import ROWS, base


def answers(member):
    session = onnxfiles.open_in_memory(member.model, "m")
    return onnxfiles.run(session, {"x": ROWS[:8]}, "m")["PROBABILITIES"]


@pytest.fixture
def plain(tmp_path):
    return answers(load_member("m", base(tmp_path / "plain.onnx"), {"x": ROWS}))


def test_a_file_of_ir_version_3_with_a_fixed_batch_is_freed(tmp_path, plain):
    model = onnx.load(base(tmp_path / "m.onnx"))
    model.ir_version = 3
    del model.opset_import[0]
    model.opset_import.append(onnx.helper.make_opsetid("", 11))  # noqa: TID251
    for weight in model.graph.initializer:  # as IR 3 has it
        array = numpy_helper.to_array(weight)
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)  # noqa: TID251
        model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, kind, array.shape))  # noqa: TID251
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "m.onnx")
    np.testing.assert_allclose(answers(load_member("m", tmp_path / "m.onnx", {"x": ROWS})), plain, rtol=1e-5)


def test_a_batch_of_minus_one_means_free(tmp_path, plain):
    model = onnx.load(base(tmp_path / "m.onnx"))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, tmp_path / "m.onnx")
    np.testing.assert_allclose(answers(load_member("m", tmp_path / "m.onnx", {"x": ROWS})), plain, rtol=1e-5)
