"""A Triton model that calls an ensemble whole, then in two halves with the cut tensor in its own hands, in turns.

The second half gets the cut tensor as a copy of the controller's own, as bag_runner.py sends it.
"""

import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Measures calls of the ensembles of one cut, named by the model's own name."""

    def initialize(self, args):
        """Nothing is kept but the ensembles' names."""
        name = args["model_name"].removesuffix("_caller")
        self._whole, self._begin, self._rest = f"{name}_whole", f"{name}_begin", f"{name}_rest"

    def execute(self, requests):
        """INPUT [rows, 1], TURNS [1, 1] -> TIMES_MS float64 [turns, 2]: in one call, in two."""
        return [self._measured(request) for request in requests]

    def _measured(self, request):
        rows = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        turns = int(pb_utils.get_input_tensor_by_name(request, "TURNS").as_numpy()[0, 0])
        times_ms = np.array([[_ms(self._in_one, rows), _ms(self._in_two, rows)] for _ in range(turns)])
        return pb_utils.InferenceResponse([pb_utils.Tensor("TIMES_MS", times_ms)])

    def _in_one(self, rows):
        _call(self._whole, "INPUT", rows, "VOTE")

    def _in_two(self, rows):
        _call(self._rest, "CUT", _call(self._begin, "INPUT", rows, "CUT"), "VOTE")


def _ms(call, rows):
    start = time.perf_counter()
    call(rows)
    return 1e3 * (time.perf_counter() - start)


def _call(model, input_, array, output):
    tensors = [pb_utils.Tensor(input_, array)]
    request = pb_utils.InferenceRequest(model_name=model, inputs=tensors, requested_output_names=[output])
    response = request.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    return pb_utils.get_output_tensor_by_name(response, output).as_numpy().copy()
