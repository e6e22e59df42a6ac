"""A bag's manifest against the models around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from exeunt import contract
from exeunt.bag_parts import parts_of
from exeunt.bag_stages import BagStages
from exeunt.deciding.calibration import load_calibration
from exeunt.errors import ConfigError
from exeunt.hosting.assembly import make_controller, make_heads
from exeunt.hosting.guard import Guard
from exeunt.manifest import Manifest, Tensor
from exeunt.serving.bags import CONFIG_FILE, ServedBag
from exeunt.serving.checks.onnx_contract import ModelConfig, TensorPort, triton_type
from exeunt.serving.checks.problem import AGAIN, Problem
from exeunt.serving.checks.wiring import needed_steps
from exeunt.serving.repository import Model


def bag_problems(bag: ServedBag, models: Mapping[str, Model]) -> Iterator[Problem]:
    """What is wrong with a bag: models that are missing or that do not say what the manifest says."""
    manifest = bag.manifest
    for name in expected_models(manifest):
        if name not in models:
            yield Problem(f"{name}/{CONFIG_FILE}", "", f"no such file; bag {manifest.bag!r} has this model", AGAIN)
    for name, inputs, outputs in _declared(manifest):
        if name in models:
            yield from _ports_problems(models[name], inputs, outputs)
    if contract.exit_model(manifest.bag) in models:
        yield from _controller_problems(models[contract.exit_model(manifest.bag)], manifest)
    if manifest.mode == "ensemble":
        yield from _pruning_problems(models, manifest)
    if contract.stream_model(manifest.bag) in models:
        yield from _stream_problems(models[contract.stream_model(manifest.bag)], models)
    if manifest.bag in models:
        yield from _label_problems(models[manifest.bag], manifest)
    yield from _start_problems(bag)


def expected_models(manifest: Manifest) -> list[str]:
    """Names of the Triton models that a bag needs."""
    names = [manifest.bag, contract.exit_model(manifest.bag)]
    if manifest.preprocess is not None:
        names.append(manifest.preprocess.model)
    if manifest.mode == "ensemble":
        stages = BagStages(manifest)
        names += [stages.model(start, end) for start, end in stages.spans()]
        names += [part.model for part in parts_of(manifest) if part.in_triton]
    whole = [member.model for member in manifest.members if member.model]
    if whole:
        names += [*whole, contract.vote_model(manifest.bag), contract.full_model(manifest.bag)]
    return names


def config_of(name: str, max_batch_size: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> ModelConfig:
    """The config.pbtxt that a model with these tensors must have."""
    return ModelConfig(name, max_batch_size, tuple(map(_port, inputs)), tuple(map(_port, outputs)), {})


def _port(tensor: Tensor) -> TensorPort:
    return TensorPort(tensor.name, triton_type(tensor.dtype), tensor.dims)


def _declared(manifest: Manifest) -> Iterator[tuple[str, Sequence[Tensor], Sequence[Tensor]]]:
    """(model, inputs, outputs) as the manifest has them."""
    yield manifest.bag, manifest.public_inputs, manifest.answers
    if manifest.preprocess is not None:
        yield manifest.preprocess.model, manifest.preprocess.inputs, manifest.preprocess.outputs
    if manifest.mode == "ensemble":
        yield from ((part.model, part.inputs, part.outputs) for part in parts_of(manifest) if part.in_triton)


def _ports_problems(model: Model, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Iterator[Problem]:
    where = f"{model.name}/{CONFIG_FILE}"
    for kind, declared, tensors in (("input", model.config.inputs, inputs), ("output", model.config.outputs, outputs)):
        present = {port.name: port for port in declared}
        for tensor in tensors:
            key, should = f"{kind} {tensor.name!r}", _port(tensor)
            if tensor.name not in present:
                yield Problem(where, key, "is missing; the manifest has it", AGAIN)
            elif (present[tensor.name].type, present[tensor.name].dims) != (should.type, should.dims or (1,)):
                is_ = f"{present[tensor.name].type} {list(present[tensor.name].dims)}"
                yield Problem(where, key, f"is {is_}, the manifest has {should.type} {list(should.dims)}", AGAIN)
        for name in present.keys() - {tensor.name for tensor in tensors}:
            yield Problem(where, f"{kind} {name!r}", "is not in the manifest", AGAIN)


def _controller_problems(model: Model, manifest: Manifest) -> Iterator[Problem]:
    where = f"{model.name}/{CONFIG_FILE}"
    message = model.message
    if model.backend != "exit_controller":
        yield Problem(where, "backend", f"is {model.backend!r}; allowed: 'exit_controller'", AGAIN)
    if [group.count for group in message.instance_group] != [1]:
        what = "must be one group of one instance: a tap must reach the process that holds the ticket"
        yield Problem(where, "instance_group", what, "set count: 1")
    if message.HasField("sequence_batching"):
        yield Problem(where, "sequence_batching", "is set; the controller batches by itself", "remove it")
    if message.HasField("dynamic_batching"):
        if manifest.mode == "ensemble":
            yield Problem(where, "dynamic_batching", "is set; a tap would wait for others", "remove it")
        elif message.dynamic_batching.max_queue_delay_microseconds:
            what = "is set; requests would wait before the controller sees them"
            yield Problem(where, "dynamic_batching: max_queue_delay_microseconds", what, "remove it")
    streams = any(port.name == contract.STREAM for port in model.config.inputs)
    if manifest.mode == "ensemble" or streams:
        for port in model.config.inputs:
            if not port.optional:
                what = "is not optional; a client sends the public inputs, a tap or a stream the others"
                yield Problem(where, f"input {port.name!r}", what, "set optional: true")


def _stream_problems(model: Model, models: Mapping[str, Model]) -> Iterator[Problem]:
    """A stream must be able to send several responses, and its controller to answer in parts."""
    where = f"{model.name}/{CONFIG_FILE}"
    if not model.message.model_transaction_policy.decoupled:
        what = "is not set; the model sends several responses for a request"
        yield Problem(where, "model_transaction_policy", what, "set decoupled: true")
    controller = model.message.parameters["controller"].string_value
    ports = models[controller].config.inputs if controller in models else ()
    if not any(port.name == contract.STREAM for port in ports):
        what = f"names {controller!r}, which takes no {contract.STREAM}"
        yield Problem(where, "parameters: controller", what, AGAIN)


def _pruning_problems(models: Mapping[str, Model], manifest: Manifest) -> Iterator[Problem]:
    """Every input must feed the last tap of every stage: Triton fails a call that prunes all users of one."""
    stages = BagStages(manifest)
    starts = [None, *(end if end in stages.inner else None for end in stages.ends[:-1])]
    spans = [
        (start, end if end in stages.inner else None, stages.taps[end])
        for start, end in zip(starts, stages.ends, strict=True)
    ]
    for start, end, tap in (*spans, (None, None, stages.full)):
        if (model := models.get(stages.model(start, end))) is None:
            continue
        fed = {tensor for step in needed_steps(model, tap.name) for tensor in step.input_map.values()}
        for port in model.config.inputs:
            if port.name not in fed:
                what = f"does not lead to {tap.name}; a call that asks for no other tap would fail"
                yield Problem(f"{model.name}/{CONFIG_FILE}", f"input {port.name!r}", what, AGAIN)


def _label_problems(model: Model, manifest: Manifest) -> Iterator[Problem]:
    for output in model.message.output:
        if output.name == contract.PROBABILITIES and output.label_filename:
            path = model.folder / output.label_filename
            labels = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            if labels != list(manifest.labels):
                what = f"has {len(labels)} labels that are not the manifest's {manifest.classes}"
                yield Problem(f"{model.name}/{path.name}", "", what, AGAIN)


def _start_problems(bag: ServedBag) -> Iterator[Problem]:
    """What the exit controller would refuse when it starts: files in its folder, or an option of its tuner."""
    try:
        load_calibration(bag.folder / contract.CALIBRATION_FILE, bag.manifest)
        make_heads(bag.manifest, bag.folder, Guard())
    except ConfigError as error:
        yield Problem("", "", str(error), AGAIN)
        return
    try:
        make_controller(dataclasses.replace(bag.manifest, settings=bag.settings), bag.folder)
    except ConfigError as error:
        yield Problem("", "", str(error), "correct the option in config.pbtxt, or in the bag file and export again")
