"""The wiring of ensembles: every tensor made once, used, and of the type and dims that its users expect.

Triton refuses such an ensemble at load, one fault at a time; here all of them are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exeunt.serving.bags import CONFIG_FILE
from exeunt.serving.checks.onnx_contract import TensorPort
from exeunt.serving.checks.problem import AGAIN, Problem
from exeunt.serving.repository import Model


def wiring_problems(models: Mapping[str, Model]) -> Iterator[Problem]:
    """What is wrong with the ensembles among `models`."""
    for model in models.values():
        if model.is_ensemble:
            for key, what in _Wiring(model, models).faults():
                yield Problem(f"{model.name}/{CONFIG_FILE}", key, what, AGAIN)


def needed_steps(model: Model, output: str) -> list[Any]:
    """The steps of an ensemble that Triton keeps when only `output` is requested."""
    steps = list(model.message.ensemble_scheduling.step)
    tensors = {output}
    needed: list[Any] = []
    while more := [step for step in steps if step not in needed and tensors & set(step.output_map.values())]:
        needed += more
        tensors |= {tensor for step in more for tensor in step.input_map.values()}
    return needed


class _Wiring:
    """One ensemble's steps against the models they call."""

    def __init__(self, model: Model, models: Mapping[str, Model]) -> None:
        self._config = model.config
        self._steps = [(f"step {number} ({step.model_name})", step) for number, step in enumerate(_steps(model))]
        self._models = models
        self._tensor_sources = {port.name: (port, "its own input") for port in self._config.inputs}

    def faults(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong)."""
        for key, step in self._steps:
            if step.model_name not in self._models:
                yield key, f"calls model {step.model_name!r}, which is not in the repository"
                continue
            called = self._models[step.model_name].config
            if called.max_batch_size < self._config.max_batch_size:
                yield key, f"takes batches of {called.max_batch_size}, the ensemble of {self._config.max_batch_size}"
            yield from self._outputs(key, step, {port.name: port for port in called.outputs})
        for key, step in self._steps:
            if step.model_name in self._models:
                inputs = {port.name: port for port in self._models[step.model_name].config.inputs}
                yield from self._inputs(key, step, inputs)
        yield from self._ends()
        yield from self._cycles()

    def _outputs(self, key: str, step: Any, outputs: dict[str, TensorPort]) -> Iterator[tuple[str, str]]:
        for name, tensor in sorted(step.output_map.items()):
            if name not in outputs:
                yield key, f"maps output {name!r}, which the model does not have ({', '.join(outputs)})"
            elif tensor in self._tensor_sources:
                yield key, f"makes tensor {tensor!r}, which {self._tensor_sources[tensor][1]} makes too"
            else:
                self._tensor_sources[tensor] = (outputs[name], key)

    def _inputs(self, key: str, step: Any, inputs: dict[str, TensorPort]) -> Iterator[tuple[str, str]]:
        for name, tensor in sorted(step.input_map.items()):
            if name not in inputs:
                yield key, f"maps input {name!r}, which the model does not have ({', '.join(inputs)})"
            elif tensor not in self._tensor_sources:
                yield key, f"input {name!r} reads tensor {tensor!r}, which nothing makes"
            else:
                yield from _mismatch(f"{key}: input {name!r}", inputs[name], tensor, self._tensor_sources[tensor][0])
        for name, port in inputs.items():
            if name not in step.input_map and not port.optional:
                yield key, f"leaves input {name!r} without a tensor"

    def _ends(self) -> Iterator[tuple[str, str]]:
        used = {tensor for _, step in self._steps for tensor in step.input_map.values()}
        outputs = {port.name: port for port in self._config.outputs}
        for tensor, (_, maker) in self._tensor_sources.items():
            if tensor not in used and tensor not in outputs:
                yield f"tensor {tensor!r}", f"of {maker} is used by nobody"
        for name, port in outputs.items():
            if name in self._tensor_sources:
                yield from _mismatch(f"output {name!r}", port, name, self._tensor_sources[name][0])
            else:
                yield f"output {name!r}", "is made by no step"

    def _cycles(self) -> Iterator[tuple[str, str]]:
        """Steps that wait for each other: whatever is left when every step that can run has run."""
        ready_tensors = {port.name for port in self._config.inputs}
        waiting = self._steps
        while runnable := [step_ for step_ in waiting if set(step_[1].input_map.values()) <= ready_tensors]:
            ready_tensors |= {tensor for _, step in runnable for tensor in step.output_map.values()}
            waiting = [step_ for step_ in waiting if step_ not in runnable]
        for key, step in waiting:
            if set(step.input_map.values()) <= set(self._tensor_sources):
                yield key, "waits, through other steps, for itself"


def _steps(model: Model) -> list[Any]:
    return list(model.message.ensemble_scheduling.step)


def _mismatch(key: str, port: TensorPort, tensor: str, source: TensorPort) -> Iterator[tuple[str, str]]:
    if port.type != source.type:
        yield key, f"is {port.type}, tensor {tensor!r} is {source.type}"
    same = len(port.dims) == len(source.dims) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(port.dims, source.dims, strict=True)
    )
    if not same:
        yield key, f"has dims {list(port.dims)}, tensor {tensor!r} has {list(source.dims)}"
