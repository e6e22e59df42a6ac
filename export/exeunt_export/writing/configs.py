"""Triton's config.pbtxt for every model of a bag, through the protobuf classes of tritonclient.

No `name:` (the folder is the name); every dimension and type explicit, so that a server may run with
--disable-auto-complete-config.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt import contract
from exeunt.manifest import Manifest, Tensor
from exeunt.serving.checks.onnx_contract import triton_type
from exeunt_export.bagfile.bagfile import Serving

LABELS_FILE = "labels.txt"
_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}


def write(config: pb.ModelConfig, folder: Path) -> None:
    """Write `config` as `folder`/config.pbtxt, with an (empty) version folder beside it."""
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def onnx_model(serving: Serving, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> pb.ModelConfig:
    """A segment, a heads model or an unsplit member; concurrent tickets share batches."""
    config = _model("onnxruntime", serving, inputs, outputs)
    config.dynamic_batching.SetInParent()
    config.instance_group.add(kind=_KINDS[serving.kind], count=serving.instances)
    # several models run at once: more threads in each would only get in each other's way (triton #6932)
    config.parameters["intra_op_thread_count"].string_value = "1"
    config.parameters["inter_op_thread_count"].string_value = "1"
    _warm_up(config)
    return config


def _warm_up(config: pb.ModelConfig) -> None:
    """Run one row of zeros while the model loads, so that no client's first request pays for the first run.

    Not where a dimension is free: Triton wants all of them, and a model that fails on a made-up one would not load.
    """
    if any(dim < 0 for tensor in config.input for dim in tensor.dims):
        return
    row = config.model_warmup.add(name="one_row", batch_size=1)
    for tensor in config.input:
        row.inputs[tensor.name].data_type = tensor.data_type
        row.inputs[tensor.name].dims.extend(tensor.dims)
        row.inputs[tensor.name].zero_data = True


def exit_controller(
    serving: Serving, inputs: Sequence[Tensor], answers: Sequence[Tensor], taps: Sequence[Tensor] | None
) -> pb.ModelConfig:
    """The exit controller.

    Args:
        serving: of the bag.
        inputs: the public ones.
        answers: outputs of the public model, PROBABILITIES among them.
        taps: what taps bring, in ensemble mode; None in engine mode.
    """
    stream = [Tensor(contract.STREAM, "int64", (1,))] if serving.stream else []
    outputs = [*answers, *(Tensor(name, "int64", (1,)) for name in (contract.ROW, contract.REST) if stream)]
    if taps is None:
        config = _model("exit_controller", serving, [*inputs, *stream], outputs)
        config.dynamic_batching.SetInParent()  # what has come meanwhile is taken in by one call
    else:
        ticket = Tensor(contract.TICKET, "int64", (1,))
        outputs.append(Tensor(contract.TAPPED, "int64", (1,)))
        config = _model("exit_controller", serving, [*inputs, *stream, ticket, *taps], outputs)
    if taps is not None or stream:
        for tensor in config.input:  # a request brings the public inputs, a tap its ticket and votes, a stream its name
            tensor.optional = True
    config.instance_group.add(kind="KIND_CPU", count=1)  # a tap must reach the process that holds the ticket
    return config


def stream_model(serving: Serving, manifest: Manifest) -> pb.ModelConfig:
    """The model that sends rows as they leave: several responses for a request."""
    answers = [*manifest.answers, Tensor(contract.ROW, "int64", (1,))]
    config = _model("exit_stream", serving, manifest.public_inputs, answers)
    config.instance_group.add(kind="KIND_CPU", count=1)
    config.model_transaction_policy.decoupled = True
    config.parameters["controller"].string_value = contract.exit_model(manifest.bag)
    config.parameters["controller_inputs"].string_value = json.dumps([tensor.name for tensor in manifest.inputs])
    before = manifest.preprocess
    step = before and {
        "model": before.model,
        "inputs": [tensor.name for tensor in before.inputs],
        "outputs": [tensor.name for tensor in before.outputs],
    }
    config.parameters["preprocess"].string_value = json.dumps(step)
    return config


def vote_model(
    serving: Serving, votes: Sequence[str], weights: Sequence[float], kind: str, classes: int
) -> pb.ModelConfig:
    """The baseline's vote: one input per member, in the bag's order."""
    inputs = [Tensor(vote, "float32", (classes,)) for vote in votes]
    outputs = [Tensor(contract.PROBABILITIES, "float32", (classes,)), Tensor(contract.LABEL, "int64", (1,))]
    config = _model("vote", serving, inputs, outputs)
    config.dynamic_batching.SetInParent()
    config.instance_group.add(kind="KIND_CPU", count=1)
    config.parameters["weights"].string_value = ",".join(repr(float(weight)) for weight in weights)
    config.parameters["vote"].string_value = kind
    return config


class Ensemble:
    """A Triton ensemble in the making."""

    def __init__(self, serving: Serving, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.config = _model("", serving, inputs, outputs)
        self.config.platform = "ensemble"
        self.config.ensemble_scheduling.SetInParent()

    def add_step(self, model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        """Add a step; both maps lead from the model's tensor to the ensemble's."""
        step = self.config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        step.input_map.update(inputs)
        step.output_map.update(outputs)


def _model(backend: str, serving: Serving, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> pb.ModelConfig:
    config = pb.ModelConfig(backend=backend, max_batch_size=serving.max_batch_size)
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=triton_type(tensor.dtype), dims=tensor.dims or (1,))
    for tensor in outputs:
        added = config.output.add(name=tensor.name, data_type=triton_type(tensor.dtype), dims=tensor.dims or (1,))
        if tensor.name == contract.PROBABILITIES and not backend:
            added.label_filename = LABELS_FILE
    return config
