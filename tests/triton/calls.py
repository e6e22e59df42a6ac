"""Plain tritonclient calls, as anybody's client makes them, and what the tests ask of a repository offline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from tritonclient import grpc, http

from exeunt.contract import exit_model, features_name, votes_name
from exeunt.deciding import votes
from exeunt.deciding.heads import Head, Pair
from exeunt.errors import ConfigError
from exeunt.hosting.control import Control, control_path, write_control
from exeunt.hosting.status import Status, find_status
from exeunt.manifest import Manifest
from exeunt.serving.pip_server import Server

PROTOCOLS: dict[str, ModuleType] = {"grpc": grpc, "http": http}
# an export's [exit]
NOBODY_LEAVES = 'tuner = "static"\ntuner_options = { thresholds = [0.0] }\nlossless = false\nshadow_share = 0.0\n'


def ask(
    server: Server, protocol: str, rows: np.ndarray, model: str = "tiny", **parameters: Any
) -> dict[str, np.ndarray]:
    """All outputs of one plain request."""
    kind = PROTOCOLS[protocol]
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with kind.InferenceServerClient(url) as client:
        image = kind.InferInput("IMAGE", list(rows.shape), "FP32")
        image.set_data_from_numpy(rows)
        result = client.infer(model, [image], parameters=parameters or None)
        response = result.get_response()
        names = [o["name"] for o in response["outputs"]] if protocol == "http" else [o.name for o in response.outputs]
        return {name: result.as_numpy(name) for name in names}


def manifest_of(repository: Path, bag: str = "tiny") -> Manifest:
    return Manifest.load(repository / exit_model(bag) / "1" / "manifest.json")


def override(repository: Path, **parameters: str) -> Path:
    """Put parameters into the exit controller's config.pbtxt; the repository."""
    config = repository / "tiny_exit" / "config.pbtxt"
    for name, value in parameters.items():
        entry = f'parameters {{ key: "{name}" value {{ string_value: {json.dumps(value)} }} }}\n'
        config.write_text(config.read_text() + entry)
    return repository


@contextmanager
def controlled(server: Server, repository: Path, **control: Any) -> Iterator[None]:
    """Change a running server through its control file until the block ends."""
    manifest = manifest_of(repository)
    path = control_path(server.state_dir, manifest.content_hash)
    for number, change in ((1, Control(version=_next(server), **control)), (2, None)):
        if number == 2:
            yield
            change = Control(version=_next(server))
        write_control(path, change)
        _await_version(server, change.version)


def _next(server: Server) -> int:
    return _status(server).control_version + 1


def _status(server: Server, bag: str = "tiny") -> Status:
    """The newest status; a server that has just started writes its first one within a second or so."""
    end = time.monotonic() + 60
    while True:
        try:
            return find_status(server.state_dir, bag)
        except ConfigError:
            assert time.monotonic() < end, "no status was written in time"
            time.sleep(0.05)


def _await_version(server: Server, version: int) -> None:
    end = time.monotonic() + 60
    while _status(server).control_version != version:
        assert time.monotonic() < end, "the control file was not obeyed in time"
        time.sleep(0.05)


def await_idle(server: Server, bag: str = "tiny") -> None:
    """Wait until a fresh status says that nothing is in flight."""
    since, end = time.time(), time.monotonic() + 60
    while True:
        status = _status(server, bag)
        if status.written_unix_s > since and not status.tickets_in_flight and not status.waiting_rows:
            return
        assert time.monotonic() < end, f"still in flight: {status.tickets_in_flight} tickets"
        time.sleep(0.1)


def vote_offline(
    repository: Path,
    exit_: int,
    rows: np.ndarray | dict[str, np.ndarray],
    bag: str = "tiny",
    heads: Mapping[Pair, Head] | None = None,
) -> np.ndarray:
    """The vote at an exit, computed from the repository's ONNX files without any server; float32 [rows, classes].

    Bare rows are those of the input IMAGE. `heads` are used in place of the exported ones.
    """
    manifest = manifest_of(repository, bag)
    depths = manifest.exits[exit_].depths
    tensors: dict[str, np.ndarray] = {}
    for member, depth in zip(manifest.members, depths, strict=True):
        member_tensors = {"IMAGE": rows} if isinstance(rows, np.ndarray) else dict(rows)
        for number, segment in enumerate(member.segments[:depth], start=1):
            inputs = {input_.name: member_tensors[input_.name] for input_ in segment.inputs}
            outputs = _run(repository, segment.model, inputs)
            member_tensors |= outputs
            if number == depth:
                tensors |= {features_name(member.name, depth): outputs.get("FEATURES")}
                tensors |= {votes_name(member.name, depth): outputs.get("PROBABILITIES")}
    model = manifest.exits[exit_].heads
    if model is not None:
        features = {k: v for k, v in tensors.items() if k.endswith(".features") and v is not None}
        tensors |= _run(repository, model, features)
    for (number, depth), head in (heads or {}).items():
        if depths[number] == depth:
            name = manifest.members[number].name
            tensors[votes_name(name, depth)] = head.probabilities(tensors[features_name(name, depth)])
    voting = [votes_name(m.name, d) for m, d in zip(manifest.members, depths, strict=True) if d]
    return votes.vote([tensors[item] for item in voting], manifest.exit_weights(exit_), manifest.vote)


def _run(repository: Path, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    (file,) = [*repository.glob(f"{model}/1/model.onnx"), *repository.glob(f"*_exit/1/{model}.onnx")]  # either mode
    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
