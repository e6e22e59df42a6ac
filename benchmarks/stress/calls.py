"""Calls over gRPC that cost the caller little: messages are made beforehand, answers are looked at afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from benchmarks.stress.bag import NAME

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OUTPUTS = {"PROBABILITIES": np.float32, "LABEL": np.int64, "EXIT": np.int32}


def message(rows: np.ndarray, **wishes: str | float) -> bytes:
    """A request for the bag.

    Args:
        rows: float32 [rows, ...].
        wishes: its parameters.
    """
    request = pb.ModelInferRequest(model_name=NAME)
    request.inputs.add(name="IMAGE", datatype="FP32", shape=list(rows.shape))
    request.raw_input_contents.append(rows.tobytes())
    for output in OUTPUTS:
        request.outputs.add(name=output)
    for key, wish in wishes.items():
        if isinstance(wish, str):
            request.parameters[key].string_param = wish
        else:
            request.parameters[key].double_param = wish
    return bytes(request.SerializeToString())


def answer_of(content: bytes) -> dict[str, np.ndarray]:
    """Outputs by name, [rows, ...]; those of one value a row as [rows]."""
    response = pb.ModelInferResponse.FromString(content)
    answer = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        array = np.frombuffer(raw, dtype=OUTPUTS[output.name]).reshape(list(output.shape))
        answer[output.name] = array[:, 0] if array.shape[1] == 1 else array
    return answer


@dataclass(slots=True)
class Call:
    """One call.

    Attributes:
        due_s: when it was to be sent, seconds since the run began.
        content: the message.
        pool_rows: which rows of the pool it holds.
        cancel_after_s: its caller gives it up after so long; None: never.
        latency_s: from `due_s` to its end; NaN while there is none.
        status: gRPC's name of how it ended; "" while it has not.
        text: of an error.
        answer: the response's bytes.
    """

    due_s: float
    content: bytes
    pool_rows: np.ndarray
    cancel_after_s: float | None = None
    latency_s: float = float("nan")
    status: str = ""
    text: str = ""
    answer: bytes = b""


@dataclass
class Caller:
    """Sends calls when they are due, whether or not earlier ones have ended.

    Args:
        url: "HOST:PORT".
        patience_s: after which a call counts as lost.
    """

    url: str
    patience_s: float = 60.0
    _channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(self.url, options=options)
        self._infer = self._channel.unary_unary(METHOD)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def play(self, calls: Iterable[Call], on_end: Callable[[Call], None] = lambda call: None) -> Iterator[Call]:
        """Send calls, and give each back as it is sent; returns when all of them have ended.

        Args:
            calls: in the order of `due_s`.
            on_end: takes every call when it has ended, in a thread of gRPC's.
        """
        begun_s = time.monotonic()
        open_, all_ended = 0, threading.Condition()

        def ended(call: Call, future: grpc.Future) -> None:
            nonlocal open_
            call.latency_s = time.monotonic() - begun_s - call.due_s
            if future.cancelled():
                call.status = "CANCELLED"
            else:
                call.status = future.code().name
                call.text = future.details() or ""
                call.answer = future.result() if call.status == "OK" else b""
            on_end(call)
            with all_ended:
                open_ -= 1
                all_ended.notify()

        for call in calls:
            time.sleep(max(0.0, begun_s + call.due_s - time.monotonic()))
            with all_ended:
                open_ += 1
            future = self._infer.future(call.content, timeout=self.patience_s)
            future.add_done_callback(lambda future, call=call: ended(call, future))
            if call.cancel_after_s is not None:
                threading.Timer(call.cancel_after_s, future.cancel).start()
            yield call
        with all_ended:
            all_ended.wait_for(lambda: open_ == 0)


def closed_loop(url: str, contents: list[bytes], callers: int, seconds: float) -> float:
    """Requests answered in a second where so many callers ask again as soon as they have an answer."""
    answered = [0] * callers
    end_s = time.monotonic() + seconds
    with Caller(url) as caller:

        def call(number: int) -> None:
            place = number
            while time.monotonic() < end_s:
                try:
                    caller._infer(contents[place % len(contents)], timeout=60)
                    answered[number] += 1
                except grpc.RpcError:  # refused
                    time.sleep(0.01)
                place += callers

        threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(answered) / seconds
