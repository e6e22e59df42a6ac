"""A model that asks itself through Triton whether they are in step; see exeunt.hosting.in_step."""

import os
from functools import partial

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import PARAMETER_IN_STEP
from exeunt.deciding.request import read_parameters
from exeunt.errors import RequestError
from exeunt.hosting.guard import Guard
from exeunt.hosting.in_step import InStep

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class SelfCalls:
    """What stands between `execute()` of a model and Triton.

    Args:
        name: of the model.
        config: its config.pbtxt as a table.
        guard: of replies that were held back.
    """

    def __init__(self, name, config, guard=None):
        self._name = name
        self._inputs = _question_inputs(config)
        self._output = config["output"][0]["name"]
        self._started = False
        guard = guard or Guard(lambda line: pb_utils.Logger.log_error(f"{name}: {line}"))
        self._in_step = InStep(self._ask, self.end, guard, lambda line: pb_utils.Logger.log_info(f"{name}: {line}"))

    def execute(self, requests, take):
        """What `execute()` returns. Whoever sends replies otherwise, sends them by `send`.

        Args:
            requests: of Triton.
            take: takes some of them; gives a reply for each, None where that is sent otherwise.
        """
        if not self._started:
            self._started = True
            self._in_step.start()
        questions = [self._is_question(request) for request in requests] if self._in_step.asks else []
        if not any(questions):
            return self._returned(requests, take(requests))
        others = [request for request, is_question in zip(requests, questions, strict=True) if not is_question]
        replies = iter(self._returned(others, self._replies(others, take)))
        pairs = zip(requests, questions, strict=True)
        return [self._answer(request) if is_question else next(replies) for request, is_question in pairs]

    @property
    def in_doubt(self):
        """Whether this process stood still, and does not know yet whether Triton is in step with it."""
        return self._in_step.in_doubt

    def send(self, reply):
        """Call `reply`, which sends something, now or when it is known to arrive where it belongs."""
        self._in_step.send(reply)

    def close(self):
        """Stop watching; in `finalize`."""
        self._in_step.close()

    def end(self, problem):
        """End at once: nothing that is held back may be sent any more."""
        os.write(2, f"error: {self._name}: {problem}; it ends, so that nobody gets another's answer\n".encode())
        os._exit(1)

    def _returned(self, requests, replies):
        """The replies, or None for each that is sent later."""
        if not self._in_step.in_doubt:
            return replies
        for request, reply in zip(requests, replies, strict=True):
            if reply is not None:
                sender = request.get_response_sender()
                self._in_step.send(partial(sender.send, reply, flags=FINAL))
        return [None] * len(replies)

    def _replies(self, requests, take):
        """Of requests that came with a question, whose answer must not depend on them."""
        try:
            return take(requests) if requests else []
        except Exception as error:
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(repr(error))) for _ in requests]

    def _is_question(self, request):
        try:
            return self._in_step.recognises(str(read_parameters(request.parameters).get(PARAMETER_IN_STEP)))
        except RequestError:  # a stranger's bytes
            return False

    def _answer(self, request):
        """An error: whoever else gets it is told something true."""
        word = read_parameters(request.parameters)[PARAMETER_IN_STEP]
        text = f"{self._name} was stopped, and asks whether its answers arrive: ask again ({word})"
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, pb_utils.TritonError.UNAVAILABLE))

    def _ask(self, word):
        call = pb_utils.InferenceRequest(
            model_name=self._name,
            inputs=[pb_utils.Tensor(name, array) for name, array in self._inputs.items()],
            requested_output_names=[self._output],
            parameters={PARAMETER_IN_STEP: word},
        )
        try:
            response = call.exec()
        except pb_utils.TritonModelException as error:  # the model is not ready yet, or no more
            return str(error)
        return response.error().message() if response.has_error() else ""


def _question_inputs(config):
    """One row of zeros for each input that must be there; for the first, where none must."""
    required = [port for port in config["input"] if not port.get("optional")] or config["input"][:1]
    batch = [1] if config.get("max_batch_size") else []
    arrays = {}
    for port in required:
        dims = batch + [max(1, int(dim)) for dim in port["dims"]]
        dtype = pb_utils.triton_string_to_numpy(port["data_type"])
        arrays[port["name"]] = np.full(dims, b"") if dtype is np.object_ else np.zeros(dims, dtype=dtype)
    return arrays
