"""The vote of the baseline `NAME_full`: the members' probabilities in, PROBABILITIES and LABEL out."""

import json

import triton_python_backend_utils as pb_utils

from exeunt.errors import ExeuntError
from exeunt.serving.checks.onnx_contract import ModelConfig
from exeunt_backends.self_calls import SelfCalls
from exeunt_backends.vote.full_vote import FullVote


class TritonPythonModel:
    """One instance of one vote model."""

    def initialize(self, args):
        """Read weights and kind of vote from the config's parameters."""
        config = json.loads(args["model_config"])
        self._calls = SelfCalls(args["model_name"], config)
        try:
            self._vote = FullVote.from_config(ModelConfig.from_json(config))
        except ExeuntError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests):
        """Vote on each request."""
        return self._calls.execute(requests, lambda requests: [self._answer(request) for request in requests])

    def finalize(self):
        """Stop the thread."""
        self._calls.close()

    def _answer(self, request):
        names = self._vote.inputs
        outputs = self._vote({name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names})
        requested = request.requested_output_names()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, array) for name, array in outputs.items() if name in requested]
        )
