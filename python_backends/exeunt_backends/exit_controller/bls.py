"""One call of an ensemble of the bag, from inside Triton (business logic scripting)."""

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import PARAMETER_REPORT_TO, TICKET


def execute(model, secret, rows, inputs, taps, cuts, still_run, end, address=None):
    """Have Triton run the steps that some taps need; waits for all of them.

    Args:
        model: NAME_bag, or an ensemble that goes on from an exit inside members.
        secret: of the call.
        rows: of `inputs`.
        inputs: input -> [rows, ...].
        taps: names of the outputs that are asked for.
        cuts: names of the cut tensors that are asked for.
        still_run: gives the rows (indices) whose cut tensors are kept, once the taps have been answered.
        end: ends this process: where a tap is answered with another's answer, anybody may be; exeunt.hosting.in_step.
        address: where steps that fail report it; None: they just fail.

    Returns:
        what Triton says went wrong (None if nothing did); the rows that were kept, and their cut tensors by name.
    """
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
    tensors.append(pb_utils.Tensor(TICKET, np.full((rows, 1), secret, dtype=np.int64)))
    options = {} if address is None else {"parameters": {PARAMETER_REPORT_TO: address}}
    if cuts:  # they go through numpy, whatever device made them
        options["preferred_memory"] = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)
    try:
        call = pb_utils.InferenceRequest(
            model_name=model, inputs=tensors, requested_output_names=[*taps, *cuts], **options
        )
        response = call.exec()
        if response.has_error():
            return response.error().message(), None, {}
        outputs = {tensor.name(): tensor for tensor in response.output_tensors()}
        if any((outputs[tap].as_numpy() != secret).any() for tap in taps if tap in outputs):
            end("Triton is out of step with this process: it answered one tap with the answer to another")
        running_rows = still_run() if cuts else None
        return None, running_rows, {name: outputs[name].as_numpy()[running_rows] for name in cuts if name in outputs}
    except pb_utils.TritonModelException as error:
        return str(error), None, {}
