"""One call of NAME_bag, from inside Triton (business logic scripting)."""

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import TICKET


def execute(model, secret, rows, inputs, taps, end):
    """Have Triton run the steps that some taps need; waits for all of them.

    Args:
        model: NAME_bag.
        secret: of the call.
        rows: of `inputs`.
        inputs: bag input -> [rows, ...].
        taps: names of the outputs that are asked for.
        end: ends this process: where a tap is answered with another's answer, anybody may be; exeunt.hosting.in_step.

    Returns:
        what Triton says went wrong; None if nothing did.
    """
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
    tensors.append(pb_utils.Tensor(TICKET, np.full((rows, 1), secret, dtype=np.int64)))
    try:
        call = pb_utils.InferenceRequest(model_name=model, inputs=tensors, requested_output_names=taps)
        response = call.exec()
    except pb_utils.TritonModelException as error:
        return str(error)
    if response.has_error():
        return response.error().message()
    if any((tapped.as_numpy() != secret).any() for tapped in response.output_tensors()):
        end("Triton is out of step with this process: it answered one tap with the answer to another")
    return None
