"""Stand-in for Triton's native onnxruntime backend, for servers that come without it: runs `1/model.onnx`.

As strict as the native one about names, types and dims, so that the same repository serves on both.
"""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils

from exeunt.errors import ExeuntError
from exeunt.serving.checks.onnx_contract import ModelConfig
from exeunt.serving.onnx_model import OnnxModel
from exeunt_backends.failed_steps import report_failure
from exeunt_backends.self_calls import SelfCalls


class TritonPythonModel:
    """One instance of one ONNX model."""

    def initialize(self, args):
        """Load the file and check it against the config."""
        table = json.loads(args["model_config"])
        file = table.get("default_model_filename") or "model.onnx"
        self._calls = SelfCalls(args["model_name"], table)
        path = Path(args["model_repository"]) / args["model_version"] / file
        device_id = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        try:
            self._config = ModelConfig.from_json(table)
            self._model = OnnxModel(path, self._config, device_id)
        except ExeuntError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        if device_id is not None and not self._model.on_gpu:
            pb_utils.Logger.log_warn(f"{args['model_name']}: this onnxruntime has no CUDA; the model runs on the CPU")

    def execute(self, requests):
        """Answer the requests of one dynamic batch with one run of the model."""
        return self._calls.execute(requests, self._take)

    def finalize(self):
        """Stop the thread."""
        self._calls.close()

    def _take(self, requests):
        items = [(self._inputs(request), list(request.requested_output_names())) for request in requests]
        results = zip(requests, items, self._model.run_many(items), strict=True)
        return [self._response(self._unless_reported(*result)) for result in results]

    def _unless_reported(self, request, item, outputs):
        """Zeros in place of an error where the bag's exit controller has it already.

        A process that stood still does not report: what it ran may be another's memory by now.
        """
        if not isinstance(outputs, ExeuntError) or self._calls.in_doubt:
            return outputs
        return self._model.zeros(*item) if report_failure(request, self._config.name, str(outputs)) else outputs

    def _inputs(self, request):
        return {
            port.name: pb_utils.get_input_tensor_by_name(request, port.name).as_numpy() for port in self._config.inputs
        }

    def _response(self, outputs):
        if isinstance(outputs, ExeuntError):
            code = getattr(pb_utils.TritonError, outputs.triton_code)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(outputs), code))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])
