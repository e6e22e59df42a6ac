"""What both clients share: whom they ask, the form of a request, the meaning of an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from grpc import RpcError
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from exeunt_client.contract import ROW, stream_model
from exeunt_client.errors import RequestError, ServingError
from exeunt_client.options import RequestOptions
from exeunt_client.protocol import NOT_HTTP, Address, Signature, encode, requested, translate

NamedInputs = dict[str, np.ndarray]


class BaseClient:
    """One model of a server; the arguments are those of `exeunt_client.blocking.Client`.

    Raises:
        RequestError: a bad url.
    """

    http_errors: ClassVar[tuple[type[Exception], ...]]  # of the HTTP library that the client uses

    def __init__(self, url: str, model: str, labels: Sequence[str] | None = None, timeout_s: float = 60.0) -> None:
        self._address = Address.parse(url)
        self._model = model
        self._timeout_s = timeout_s
        self._what = f"model {model!r} at {url}"
        self._given_labels = labels
        self._labels: tuple[str, ...] = ()
        self._speaks_grpc = self._address.protocol == "grpc"
        self._as_json = {"as_json": True} if self._speaks_grpc else {}
        self._protocol: ModuleType = grpc if self._speaks_grpc else http

    def _request(self, inputs: NamedInputs, signature: Signature, options: RequestOptions) -> dict[str, Any]:
        """Arguments of tritonclient's `infer`, from checked inputs by name."""
        timeout = {"client_timeout": self._timeout_s} if self._speaks_grpc else {}
        return timeout | {
            "model_name": self._model,
            "inputs": encode(self._protocol, inputs),
            "outputs": requested(self._protocol, signature.outputs),
            "parameters": options.parameters() or None,
        }

    def _stream_request(self, inputs: NamedInputs, signature: Signature, options: RequestOptions) -> dict[str, Any]:
        """Arguments of tritonclient's streaming calls, from checked inputs by name.

        Raises:
            RequestError: the client talks HTTP, where a request has one response.
        """
        if not self._speaks_grpc:
            raise RequestError("stream needs gRPC: make the client with a grpc:// url (Triton's usual port is 8001)")
        return {
            "model_name": stream_model(self._model),
            "inputs": encode(grpc, inputs),
            "outputs": requested(grpc, [*signature.outputs, ROW]),
            "parameters": options.parameters() or None,
        }

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise translate(error, self._what) from error
        except RpcError as error:  # of a stream
            raise translate(InferenceServerException(error.details(), str(error.code())), self._what) from error
        except self.http_errors as error:
            answered = self._is_no_http(error)
            says = NOT_HTTP if answered else f"no server answers: {str(error) or type(error).__name__}"
            raise ServingError(f"{self._what}: {says}") from error

    @staticmethod
    def _is_no_http(error: Exception) -> bool:
        """Whether one of `http_errors` says that something answered, but not in HTTP."""
        raise NotImplementedError
