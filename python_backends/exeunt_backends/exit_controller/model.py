"""Triton backend of the exit controller: requests and taps in, releases out; every decision is the core's.

`execute()` waits for nobody: a tap comes through the same door as a client, so waiting here for a tap would wait
forever. Short plain tickets run here: see exeunt.engine.whole_tickets.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.bag_stages import tap_tensors
from exeunt.contract import PARAMETER_FAILED_MODEL, PARAMETER_FAILURE, STREAM, TAPPED, TICKET
from exeunt.deciding.request import Request, parse_options, read_parameters
from exeunt.errors import ExeuntError, RequestError, ServingError
from exeunt.hosting import assembly, tensors
from exeunt.hosting.calls.bag_calls import BagCalls, RefusedTapError, draw_secret
from exeunt.hosting.direct_replies import DirectReplies
from exeunt.hosting.guard import Guard
from exeunt.hosting.host import monotonic_us
from exeunt.hosting.metrics import COUNTERS, GAUGES
from exeunt.hosting.start_times import StartTimes
from exeunt.hosting.streams import NOTHING_LEFT, Stream, Streams
from exeunt_backends.exit_controller.bag_runner import BagRunner
from exeunt_backends.exit_controller.triton_version import triton_is_at_least
from exeunt_backends.self_calls import FINAL, SelfCalls

# before it, gRPC's part of Triton crashes where an answer meets its caller's cancellation: the quicker, the more often
BEARS_QUICK_REFUSALS = (25, 5)
REFUSERS = 4  # threads that send refusals to a Triton before it


class TritonPythonModel:
    """NAME_exit: one instance holds every ticket of a bag."""

    def initialize(self, args):
        """Build controller, runner and host from the version folder; see exeunt.hosting."""
        times = StartTimes()
        times.done("Python")
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        overrides = {key: value["string_value"] for key, value in config["parameters"].items()}
        name = args["model_name"]
        self._guard = Guard(lambda line: pb_utils.Logger.log_error(f"{name}: {line}"))
        self._self_calls = SelfCalls(name, config, self._guard)
        self._keys = count()
        self._senders = {}
        self._direct = DirectReplies()
        self._streams = Streams(self._reply_part, draw_secret, monotonic_us)
        self._metrics = Metrics()
        self._refusals = ThreadPoolExecutor(REFUSERS, "exeunt-refusals")
        self._returns_refusals = triton_is_at_least(*BEARS_QUICK_REFUSALS)
        try:
            self._manifest = manifest = assembly.read_manifest(folder, overrides)
            self._pairs = {tensor.name: pair for pair, tensor in tap_tensors(manifest).items()}
            self._calls = BagCalls(manifest)
            self._heads = assembly.make_heads(manifest, folder, self._guard)
            if manifest.mode == "ensemble":
                runner = BagRunner(manifest, self._calls, self._heads, self._guard, self._self_calls.end)
            else:
                runner = _engine(manifest, folder)
            times.done("members")
            log = pb_utils.Logger.log_info
            learning = assembly.make_learning(manifest, folder, runner, lambda line: log(f"{name}: {line}"))
            self._bag = assembly.HostedBag(
                assembly.make_controller(manifest, folder),
                runner,
                self._reply,
                self._metrics.publish,
                lambda line: log(f"{name}: {line}"),
                self._guard,
                {"exeunt_refused_taps_total": lambda: {"taps": float(self._calls.refused)}},
                learning,
            )
        except ExeuntError as error:
            self._metrics.close()
            raise pb_utils.TritonModelException(f"{type(error).__name__}: {error}") from error
        self._host = self._bag.host
        times.done("controller")
        pb_utils.Logger.log_info(f"{name}: {times.line()}")

    def execute(self, requests):
        """Taps are answered at once; client requests by `_reply`, from whichever thread decides them.

        Nothing may be raised here: Triton would end every request of the call, taps of other tickets among them.
        """
        return self._self_calls.execute(requests, self._take_all)

    def _take_all(self, requests):
        """A reply to each request, None where it is sent; a small bag's mostly come before this returns."""
        taken = [self._take(request) for request in requests]
        waiting = {key: request for key, request in zip(taken, requests, strict=True) if isinstance(key, int)}
        if not waiting:
            return taken

        def keep_open(key):
            self._senders[key] = waiting[key].get_response_sender()

        self._guard.run("start of tickets", lambda: self._host.begin(at_once=True))
        replies = self._direct.collect(keep_open)
        return [replies.get(key) if isinstance(key, int) else key for key in taken]

    def finalize(self):
        """Answer what is left, save what was learnt, stop the threads."""
        self._bag.stop(drain_s=0.0)
        self._self_calls.close()
        if self._heads is not None:
            self._heads.close()
        self._refusals.shutdown()
        self._senders.clear()
        self._metrics.close()

    def _take(self, request):
        """The reply to a request; None where that is sent."""
        # every model of the server can be called by anybody: a tensor may be anything, in either kind of request
        tensors_in = {tensor.name(): tensor for tensor in request.inputs()}
        if TICKET in tensors_in:
            return self._tap(request, tensors_in)
        key = next(self._keys)
        self._direct.expect(key)
        try:
            self._submit(key, request, tensors_in)
        except ExeuntError as error:
            return self._refuse(key, request, error, in_stream=STREAM in tensors_in)
        except Exception as error:  # the edge: nobody may wait for ever, whatever is broken
            self._guard.survived("request", error)
            return self._refuse(key, request, ServingError(f"internal error: {error!r}"))
        return key

    def _refuse(self, key, request, error, in_stream=False):
        """The error is the reply, unless there is one already; returned where that is safe, else sent and None.

        Threads of their own send it: each waits for Triton, and everybody behind would wait, too.
        """
        response = _error_response(error, in_stream)
        if self._returns_refusals:
            self._direct.take(key, response)
            return key
        if not self._direct.forget(key):
            return key
        self._senders[key] = request.get_response_sender()
        self._refusals.submit(self._guard.run, "reply", lambda: self._respond(key, response))
        return None

    def _submit(self, key, request, tensors_in):
        inputs = {name: tensor.as_numpy() for name, tensor in tensors_in.items()}
        if STREAM not in inputs:
            self._offer(key, request, inputs)
            return
        name = tensors.stream_name(inputs.pop(STREAM))
        if name != NOTHING_LEFT:
            self._streams.go_on(name, key)
            return
        stream = self._streams.begin(key)
        try:
            self._offer(stream, request, inputs)
        except BaseException:
            self._streams.end(stream)
            raise

    def _offer(self, key, request, inputs):
        rows = tensors.check_inputs(self._manifest, inputs)
        table = read_parameters(request.parameters)
        options = parse_options(table, self._manifest.settings, request.timeout())
        # Triton frees the inputs when execute() returns
        inputs = {tensor.name: inputs[tensor.name].copy() for tensor in self._manifest.inputs}
        free = tensors.free_dims(self._manifest, inputs)
        in_parts = isinstance(key, Stream)
        offered = Request(key, rows, options, tensors.nan_rows(inputs), free, in_parts)
        self._host.submit(offered, inputs, gathers=True)

    def _tap(self, request, tensors_in):
        """Votes or features of a call of ours, or that a step of it failed. Whatever else comes is refused.

        A tap gets its TICKET back whatever it brings, a report only if it is taken; else -1.

        An error here would end the parent's request without freeing it (servers before 26.02).
        """
        ticket = tensors_in[TICKET].as_numpy()
        is_report = not self._pairs.keys() & tensors_in.keys()
        reply = np.full_like(ticket, -1) if is_report else ticket
        try:
            if is_report:
                parameters = read_parameters(request.parameters)
                self._calls.report(ticket, *map(parameters.get, (PARAMETER_FAILURE, PARAMETER_FAILED_MODEL)))
                reply = ticket
            else:
                votes = {self._pairs[name]: part.as_numpy() for name, part in tensors_in.items() if name in self._pairs}
                self._take_votes(*self._calls.take(ticket, votes))
        except (RefusedTapError, RequestError):
            pass  # votes and reports are counted; a line for each would let a stranger fill the disk
        except Exception as error:
            self._guard.survived("tap", error)
        return pb_utils.InferenceResponse([pb_utils.Tensor(TAPPED, reply)])

    def _take_votes(self, call, fresh):
        if call.ticket is None or not fresh:
            return
        if self._heads is None:
            self._host.arrived(call.ticket.id, fresh, call.ticket_rows)
        else:
            self._heads.pass_on(call, fresh, self._host.arrived)

    def _reply(self, release):
        if isinstance(release.key, Stream):
            self._streams.released(release)
        elif release.answer is None:
            self._send_error(release.key, release.error)
        else:
            self._send(release.key, tensors.answer_tensors(release.answer, self._manifest.top))

    def _reply_part(self, part):
        if part.answer is None:
            self._send_error(part.caller, part.error, in_stream=True)
            return
        outputs = tensors.answer_tensors(part.answer, self._manifest.top)
        self._send(part.caller, outputs | tensors.part_tensors(part.rows, part.rest))

    def _send(self, key, outputs):
        self._respond(
            key, pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])
        )

    def _send_error(self, key, error, in_stream=False):
        self._respond(key, _error_response(error, in_stream))

    def _respond(self, key, response):
        if self._direct.take(key, response):
            return
        sender = self._senders.pop(key)
        self._self_calls.send(lambda: sender.send(response, flags=FINAL))


class Metrics:
    """Triton's custom metrics, updated from cumulative samples: one call per series that changed."""

    def __init__(self):
        families = [(COUNTERS, pb_utils.MetricFamily.COUNTER), (GAUGES, pb_utils.MetricFamily.GAUGE)]
        self._families = {
            name: pb_utils.MetricFamily(name=name, description=text, kind=kind)
            for texts, kind in families
            for name, text in texts.items()
        }
        self._series = {}

    def publish(self, samples):
        """Bring every series to its sample's value."""
        for sample in samples:
            series = (sample.family, sample.labels)
            if series not in self._series:
                self._series[series] = [self._families[sample.family].Metric(labels=dict(sample.labels)), 0.0]
            metric, last = self._series[series]
            if sample.value == last:
                continue
            metric.increment(sample.value - last) if sample.family in COUNTERS else metric.set(sample.value)
            self._series[series][1] = sample.value

    def close(self):
        """Let go of everything, the series before their families.

        A metric that outlives `finalize` is given back when Triton's stub is half gone, and ends it by a segmentation
        fault.
        """
        self._series.clear()
        self._families.clear()


def _error_response(error, in_stream=False):
    code = getattr(pb_utils.TritonError, error.triton_code)
    # Triton drops the code on the way to the model that called this one
    text = tensors.coded(error) if in_stream else str(error)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))


def _engine(manifest, folder):
    """The in-process runner; imported only where it is used, since it needs onnxruntime."""
    from exeunt.engine.engine import Engine

    return Engine(manifest, folder)
