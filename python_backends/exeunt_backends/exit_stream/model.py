"""NAME_stream: the rows of one request in several responses, each as soon as they have left.

A decoupled model, which the exit controller cannot be: clients could not use plain `infer` any more. It asks the
controller for the first rows, then for what is left, one call after the other.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import PARAMETER_WAITED_US, REST, STREAM
from exeunt.deciding.request import read_parameters
from exeunt.errors import ExeuntError
from exeunt.hosting.streams import NOTHING_LEFT
from exeunt.hosting.tensors import decoded

AT_A_TIME = 16  # streams; each waits in a thread of ours, and in one of Triton's pool for calls between models
MOST_WAITING = 256
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One instance for all streams of a bag."""

    def initialize(self, args):
        """Read from the config's parameters whom to ask."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._controller = parameters["controller"]
        self._controller_inputs = json.loads(parameters["controller_inputs"])
        self._preprocess = json.loads(parameters["preprocess"])  # null without
        self._outputs = [output["name"] for output in config["output"]]
        self._threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="exeunt-stream")
        self._open = 0
        self._lock = threading.Lock()

    def execute(self, requests):
        """Begin each request's stream; its responses are sent from other threads."""
        for request in requests:
            sender = request.get_response_sender()
            with self._lock:
                full = self._open >= AT_A_TIME + MOST_WAITING
                self._open += not full
            if full:
                message = f"{AT_A_TIME + MOST_WAITING} streams are open already; come again"
                _send_error(sender, pb_utils.TritonError(message, pb_utils.TritonError.UNAVAILABLE))
                continue
            try:
                # Triton frees the inputs when execute() returns
                inputs = {tensor.name(): tensor.as_numpy().copy() for tensor in request.inputs()}
                since_ns = time.monotonic_ns()
                self._threads.submit(self._run, sender, inputs, _parameters(request), request.timeout(), since_ns)
            except Exception as error:  # the edge: one request must not fail the others, nor keep its place
                self._ended()
                _send_error(sender, self._triton_error(error))

    def finalize(self):
        """Wait for the streams: the controller has answered everybody by then."""
        self._threads.shutdown()

    def _run(self, sender, inputs, parameters, timeout_us, since_ns):
        """A stream's life; whatever goes wrong, its client hears of it."""
        try:
            self._stream(sender, inputs, parameters, timeout_us, since_ns)
        except CallError as error:
            _send_error(sender, error.error)
        except Exception as error:  # the edge: nobody may wait for ever, whatever is broken
            _send_error(sender, self._triton_error(error))
        finally:
            self._ended()

    def _ended(self):
        with self._lock:
            self._open -= 1

    def _triton_error(self, error):
        """An error as Triton's; one that is not ours is logged."""
        if isinstance(error, ExeuntError):
            return pb_utils.TritonError(str(error), getattr(pb_utils.TritonError, error.triton_code))
        pb_utils.Logger.log_error(f"stream of {self._controller}: {error!r}")
        return pb_utils.TritonError(f"internal error: {error!r}")

    def _stream(self, sender, inputs, parameters, timeout_us, since_ns):
        if self._preprocess:
            preprocess_inputs = {name: inputs[name] for name in self._preprocess["inputs"]}
            preprocessed = self._call(self._preprocess["model"], preprocess_inputs, self._preprocess["outputs"], {})
            inputs = {name: (inputs | preprocessed)[name] for name in self._controller_inputs}
        rows = len(next(iter(inputs.values())))
        inputs[STREAM] = np.full((rows, 1), NOTHING_LEFT, dtype=np.int64)
        # what was waited for here, and before in a gateway, counts against the caller's deadline
        before_us = parameters.get(PARAMETER_WAITED_US)
        before_us = max(0, before_us) if isinstance(before_us, int) else 0
        parameters[PARAMETER_WAITED_US] = max(1, before_us + (time.monotonic_ns() - since_ns) // 1000)
        while not sender.is_cancelled():
            answer = self._call(self._controller, inputs, [*self._outputs, REST], parameters, timeout_us)
            rest = int(answer.pop(REST)[0, 0])
            last = rest == NOTHING_LEFT
            response = pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in answer.items()])
            sender.send(response, flags=FINAL if last else 0)
            if last:
                return
            inputs = {STREAM: np.full((1, 1), rest, dtype=np.int64)}
        sender.send(flags=FINAL)

    def _call(self, model, inputs, outputs, parameters, timeout_us=0):
        """One call of another model; its outputs by name."""
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        call = pb_utils.InferenceRequest(
            model_name=model,
            inputs=tensors,
            requested_output_names=outputs,
            parameters=parameters,
            timeout=timeout_us,
        )
        response = call.exec()
        if response.has_error():
            raise CallError(response.error())
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


class CallError(Exception):
    """Another model answered with an error.

    Attributes:
        error: Triton's, with its code.
    """

    def __init__(self, error):
        code, text = decoded(error.message())
        super().__init__(text)
        self.error = pb_utils.TritonError(text, getattr(pb_utils.TritonError, code))


def _parameters(request):
    """A request's parameters, as a call of another model takes them: it knows no floating numbers."""
    parameters = read_parameters(request.parameters)
    return {key: str(value) if isinstance(value, float) else value for key, value in parameters.items()}


def _send_error(sender, error):
    sender.send(pb_utils.InferenceResponse(error=error), flags=FINAL)
