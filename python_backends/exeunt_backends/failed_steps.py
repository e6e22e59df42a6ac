"""A step of NAME_bag that fails tells the exit controller, not Triton; see exeunt.hosting.calls.failure_address."""

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import PARAMETER_FAILED_MODEL, PARAMETER_FAILURE, PARAMETER_REPORT_TO, TAPPED, TICKET
from exeunt.deciding.request import read_parameters
from exeunt.errors import RequestError
from exeunt.hosting.calls.failure_address import read_address


def report_failure(request, model, text):
    """Send what went wrong to where the request says.

    Args:
        request: of Triton, that failed.
        model: whose.
        text: what went wrong.

    Returns:
        whether the exit controller says that it has it; False where nobody asks for reports, or all else.
    """
    try:
        address = read_address(str(read_parameters(request.parameters).get(PARAMETER_REPORT_TO)))
        return address is not None and _is_taken(*address, model, text)
    except (RequestError, pb_utils.TritonModelException):  # a stranger's bytes; no such controller
        return False


def _is_taken(controller, word, model, text):
    report = pb_utils.InferenceRequest(
        model_name=controller,
        inputs=[pb_utils.Tensor(TICKET, np.array([[word]], dtype=np.int64))],
        requested_output_names=[TAPPED],
        parameters={PARAMETER_FAILURE: text, PARAMETER_FAILED_MODEL: model},
    )
    response = report.exec()
    if response.has_error():
        return False
    replies = [tensor.as_numpy() for tensor in response.output_tensors() if tensor.name() == TAPPED]
    return len(replies) == 1 and (replies[0] == word).all()
