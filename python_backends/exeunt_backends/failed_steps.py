"""A step of NAME_bag that fails tells the exit controller, not Triton; see exeunt.hosting.calls.reports."""

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import PARAMETER_FAILED_MODEL, PARAMETER_FAILURE, PARAMETER_REPORT_TO, TAPPED, TICKET
from exeunt.deciding.request import read_parameters
from exeunt.errors import RequestError
from exeunt.hosting.calls.reports import read_address


def report_failure(request, model, text):
    """Send what went wrong to where the request says.

    Args:
        request: of Triton, that failed.
        model: whose.
        text: what went wrong.

    Returns:
        whether the exit controller has it; False where nobody asks for reports, or it cannot be reached.
    """
    try:
        address = read_address(str(read_parameters(request.parameters).get(PARAMETER_REPORT_TO)))
    except RequestError:  # a stranger's bytes
        return False
    if address is None:
        return False
    controller, word = address
    report = pb_utils.InferenceRequest(
        model_name=controller,
        inputs=[pb_utils.Tensor(TICKET, np.array([[word]], dtype=np.int64))],
        requested_output_names=[TAPPED],
        parameters={PARAMETER_FAILURE: text, PARAMETER_FAILED_MODEL: model},
    )
    try:
        return not report.exec().has_error()
    except pb_utils.TritonModelException:  # no such model, or it is not ready
        return False
