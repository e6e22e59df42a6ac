"""Odd requests over gRPC: messages with odd fields, bytes that are no message, and every internal model."""

from __future__ import annotations

import json
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from benchmarks.fuzz import odd

INFER = "/inference.GRPCInferenceService/ModelInfer"
OTHERS = (
    "ModelMetadata",
    "ModelReady",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "SystemSharedMemoryRegister",
)
PATIENCE_S = 60.0
ROWS = 3


class GrpcCaller:
    """One caller with a channel of its own.

    Args:
        url: "HOST:PORT".
        rows: good rows of the one input IMAGE of the model `tiny`.
        internal: config of every internal model, as `model_configs` gives them.
        rng: chance.
    """

    def __init__(self, url: str, rows: np.ndarray, internal: list[dict[str, Any]], rng: np.random.Generator) -> None:
        self._channel = grpc.insecure_channel(url)
        self._rows = rows
        self._internal = internal
        self._rng = rng

    def close(self) -> None:
        """End."""
        self._channel.close()

    def message_request(self) -> str:
        """One odd message, or bytes that are none, for the public model."""
        request = self._good()
        self._spoil(request)
        content = request.SerializeToString()
        if self._rng.random() < 0.35:
            content = odd.mangled(self._rng, content)
        method = INFER
        if self._rng.random() < 0.05:
            method = INFER.replace("ModelInfer", odd.pick(self._rng, OTHERS))
        return self._send(content, method)

    def internal_request(self) -> str:
        """One request to an internal model: forged tickets and votes, segments, heads, votes, the bag, the baseline."""
        config = odd.pick(self._rng, self._internal)
        request = pb.ModelInferRequest(model_name=config["name"])
        rows = int(self._rng.integers(1, ROWS + 1))
        for item in config["input"]:
            if self._rng.random() < 0.15 or (item.get("optional") and self._rng.random() < 0.5):
                continue
            input_rows = rows if self._rng.random() < 0.9 else rows + 1
            dims = [input_rows, *(int(dim) if int(dim) > 0 else 4 for dim in item["dims"])]
            if self._rng.random() < 0.1:
                dims = [max(0, min(dim, 16)) for dim in odd.shape(self._rng, dims)][:4]
            self._add(request, item["name"], item["data_type"].removeprefix("TYPE_"), dims)
        names = [item["name"] for item in config["output"]]
        for name in names:
            if self._rng.random() < 0.6:
                request.outputs.add(name=name)
        if self._rng.random() < 0.1:
            self._spoil(request)
        return self._send(request.SerializeToString(), INFER)

    def _good(self) -> Any:
        rows = self._rows[: int(self._rng.integers(1, ROWS))]
        request = pb.ModelInferRequest(model_name="tiny", id="7")
        request.inputs.add(name="IMAGE", datatype="FP32", shape=rows.shape)
        request.raw_input_contents.append(rows.tobytes())
        return request

    def _add(self, request: Any, name: str, datatype: str, dims: list[int]) -> None:
        """An input of random numbers; what looks like a ticket gets what could be one."""
        if datatype == "INT64":
            kind = self._rng.integers(4)
            most = (3, 400, 2**62, 2**62)[int(kind)]
            array = np.full(dims, self._rng.integers(-1 if kind == 3 else 0, most), dtype=np.int64)
            if array.size > 1 and self._rng.random() < 0.1:
                array.flat[0] += 1
        elif datatype == "FP32":
            array = odd.floats(self._rng, dims)
        else:
            array = np.zeros(dims, dtype=np.int32)
        request.inputs.add(name=name, datatype=datatype, shape=dims)
        request.raw_input_contents.append(array.tobytes())

    def _spoil(self, request: Any) -> None:
        """Up to three changes of a message's fields."""
        for _ in range(int(self._rng.integers(0, 4))):
            kind = self._rng.integers(9)
            item = request.inputs[0] if request.inputs else request.inputs.add()
            if kind == 0:
                item.datatype = odd.pick(self._rng, (*odd.DATATYPES, *odd.TEXTS))
            elif kind == 1:
                dims = odd.shape(self._rng, list(item.shape))
                item.shape[:] = [max(-(2**63), min(2**63 - 1, int(dim))) for dim in dims]
            elif kind == 2 and request.raw_input_contents:
                request.raw_input_contents[0] = odd.mangled(self._rng, request.raw_input_contents[0])
            elif kind == 3:
                request.raw_input_contents.append(self._rng.bytes(int(self._rng.integers(0, 5000))))
            elif kind == 4:
                item.contents.fp32_contents.extend(odd.floats(self._rng, [int(self._rng.integers(0, 600))]).tolist())
            elif kind == 5:
                item.name = odd.pick(self._rng, odd.TEXTS)
            elif kind == 6:
                request.outputs.add(name=odd.pick(self._rng, (*odd.TEXTS, "EXIT", "LABEL")))
            elif kind == 7:
                request.inputs.add().CopyFrom(item)
            else:
                self._parameter(odd.pick(self._rng, (request, item)))

    def _parameter(self, holder: Any) -> None:
        parameter = holder.parameters[odd.pick(self._rng, odd.PARAMETERS)]
        scalar = odd.scalar(self._rng)
        if isinstance(scalar, bool):
            parameter.bool_param = scalar
        elif isinstance(scalar, int):
            parameter.int64_param = max(-(2**63), min(2**63 - 1, scalar))
        elif isinstance(scalar, float):
            parameter.double_param = scalar
        elif isinstance(scalar, str):
            parameter.string_param = scalar

    def _send(self, content: bytes, method: str) -> str:
        call = self._channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        try:
            call(content, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return "hang"
            if "internal error" in (error.details() or ""):
                return f"bug: {error.details()[:300]}"
            return f"gRPC {error.code().name}"
        return "gRPC OK"


def model_configs(configs: list[bytes]) -> list[dict[str, Any]]:
    """The servers' configs of models as tables, those with inputs and outputs."""
    return [table for table in map(json.loads, configs) if table.get("input") and table.get("output")]
