"""Segment and head times on the hardware that serves: asked of a running server, one model after the other.

Export measures on the machine it runs on. Where the server has a GPU, TensorRT or other cores, the times that decide
which exits are worth offering are the server's own: Triton counts them, so network and client do not matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from exeunt.bag_parts import ModelPart, Tensors, first_rows, run_parts
from exeunt.bag_stages import elapsed_us
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.measuring.server_times import NOTHING, ModelTimes, parse_times
from exeunt_client.protocol import Address, translate

ROUNDS = 3  # the lowest time counts, since other work on a host only adds
REQUESTS = 5  # per model, batch size and round

Times = dict[str, dict[int, float]]  # model -> batch size -> microseconds


def measure(
    url: str,
    manifest: Manifest,
    inputs: Mapping[str, np.ndarray],
    progress: Callable[[int, int], None] = lambda rounds_done, total: None,
) -> Times:
    """Time every segment and heads model of a bag; not heads that the exit controller holds.

    Args:
        url: "grpc://HOST:PORT" of a server without other load.
        manifest: of the bag it serves, in mode "ensemble".
        inputs: public input -> real rows [rows, ...], repeated where a batch is larger.
        progress: called with (rounds done, total).

    Returns:
        model -> batch size -> microseconds of one run, copies in and out included.

    Raises:
        ConfigError: mode "engine", whose segments are no Triton models; an input is missing; not a gRPC address.
        ServingError: the server or a model does not answer.
    """
    address = Address.parse(url)
    if manifest.mode != "ensemble" or address.protocol != "grpc":
        raise ConfigError(f"{manifest.bag}, {url}: allowed: a bag in mode 'ensemble' and a grpc:// address")
    for tensor in manifest.inputs:
        if tensor.name not in inputs:
            raise ConfigError(f"inputs {sorted(inputs)}: {tensor.name!r} is missing")
    sizes = sorted(manifest.exits[-1].elapsed_us)
    times: Times = {}
    with grpc.InferenceServerClient(address.host, ssl=address.tls) as client:
        try:
            for round_ in range(ROUNDS):
                for size in sizes:
                    for model, us in _one_round(client, manifest, first_rows(inputs, size)).items():
                        least_us = times.setdefault(model, {})
                        least_us[size] = min(us, least_us.get(size, us))
                progress(round_ + 1, ROUNDS)
        except InferenceServerException as error:
            raise translate(error, f"profile of {manifest.bag} on {url}") from error
    return times


def _one_round(
    client: grpc.InferenceServerClient, manifest: Manifest, rows: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The time of every model on one batch, microseconds."""
    times_us: dict[str, float] = {}

    def run(part: ModelPart, inputs: Tensors) -> Tensors:
        if not part.in_triton:
            return {}
        outputs = [] if part.is_heads else [tensor.name for tensor in part.outputs]
        times_us[part.model], tensors = _timed(client, part.model, inputs, outputs)
        return tensors

    run_parts(manifest, rows, run)
    return times_us


def _timed(
    client: grpc.InferenceServerClient, model: str, fed: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> tuple[float, dict[str, np.ndarray]]:
    """Mean microseconds in the server of a few requests, and the outputs of the last."""
    tensors = []
    for name, array in fed.items():
        tensor = grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        tensors.append(tensor)
    client.infer(model, tensors)  # the first of a size may build something
    before = _totals(client, model)
    for _ in range(REQUESTS):
        result = client.infer(model, tensors)
    spent = _totals(client, model) - before
    return (spent.infer_us + spent.copy_us) / max(spent.requests, 1), {name: result.as_numpy(name) for name in outputs}


def _totals(client: grpc.InferenceServerClient, model: str) -> ModelTimes:
    return parse_times(client.get_inference_statistics(model, as_json=True)).get(model, NOTHING)


def retimed(manifest: Manifest, times: Times) -> Manifest:
    """The manifest with measured times in place of its own; its content hash, and so what was learnt, stays."""
    members = tuple(
        dataclasses.replace(
            member,
            segments=tuple(dataclasses.replace(segment, cost_us=times[segment.model]) for segment in member.segments),
        )
        for member in manifest.members
    )
    sizes = sorted(manifest.exits[-1].elapsed_us)
    depths = [exit_.depths for exit_ in manifest.exits]
    elapsed = {size: elapsed_us(manifest.inputs, members, depths, size) for size in sizes}
    exits = tuple(
        dataclasses.replace(
            exit_,
            elapsed_us={size: elapsed[size][number] for size in sizes},
            head_us=times.get(exit_.heads, exit_.head_us) if exit_.heads else dict.fromkeys(sizes, 0.0),
        )
        for number, exit_ in enumerate(manifest.exits)
    )
    return dataclasses.replace(manifest, members=members, exits=exits)
