"""Triton backend of the exit controller: requests and taps in, releases out; every decision is the core's.

`execute()` never blocks: a tap comes through the same door as a client, so waiting here for a tap would wait forever.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import TAPPED, TICKET, bag_model, tap_name
from exeunt.deciding.request import Release, Request, parse_options
from exeunt.errors import ExeuntError, ServingError
from exeunt.hosting import assembly, tensors
from exeunt.hosting.metrics import COUNTERS, GAUGES


class TritonPythonModel:
    """NAME_exit: one instance holds every ticket of a bag."""

    def initialize(self, args):
        """Build controller, runner and host from the version folder; see exeunt.hosting."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        overrides = {key: told["string_value"] for key, told in config["parameters"].items()}
        self._log = lambda line: pb_utils.Logger.log_info(f"{args['model_name']}: {line}")
        try:
            self._manifest = assembly.read_manifest(folder, overrides)
            controller = assembly.make_controller(self._manifest, folder)
            runner = BagRunner(self._manifest) if self._manifest.mode == "ensemble" else _engine(self._manifest, folder)
        except ExeuntError as error:
            raise pb_utils.TritonModelException(f"{type(error).__name__}: {error}") from error
        self._votes = tensors.votes_by_name(self._manifest)
        self._public = {tensor.name for tensor in self._manifest.inputs}
        self._keys = count()
        self._senders = {}
        metrics = Metrics()
        self._served = assembly.HostedBag(controller, runner, self._reply, metrics.publish, self._log)
        self._host = self._served.host

    def execute(self, requests):
        """Taps are answered at once; client requests later, by `_reply`, from whichever thread decides them."""
        return [self._take(request) for request in requests]

    def finalize(self):
        """Answer what is left, save what was learnt, stop the threads."""
        self._served.stop(drain_s=0.0)

    def _take(self, request):
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if TICKET in inputs:
            return self._tap(inputs)
        key = next(self._keys)
        self._senders[key] = request.get_response_sender()
        try:
            self._submit(key, inputs, json.loads(request.parameters() or "{}"))
        except ExeuntError as error:
            self._reply(Release(key, 0, error=error))
        except Exception as error:  # the edge: nobody may wait for ever, whatever is broken
            pb_utils.Logger.log_error(f"{self._manifest.bag}: request not taken: {error!r}")
            self._reply(Release(key, 0, error=ServingError(f"internal error: {error!r}")))
        return None

    def _submit(self, key, inputs, parameters):
        rows = tensors.check_inputs(self._manifest, inputs)
        options = parse_options(parameters, self._manifest.settings)
        # Triton frees the inputs when execute() returns
        inputs = {name: inputs[name].copy() for name in self._public}
        self._host.submit(Request(key, rows, options, tensors.nan_rows(inputs)), inputs)

    def _tap(self, inputs):
        ticket = inputs.pop(TICKET)
        votes = {self._votes[name]: array.copy() for name, array in inputs.items()}
        self._host.arrived(int(ticket[0, 0]), votes)
        return pb_utils.InferenceResponse([pb_utils.Tensor(TAPPED, ticket)])

    def _reply(self, release):
        sender = self._senders.pop(release.key)
        if release.answer is None:
            code = getattr(pb_utils.TritonError, release.error.triton_code)
            response = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(release.error), code))
        else:
            outputs = tensors.answer_tensors(release.answer, self._manifest.top).items()
            response = pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs])
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class BagRunner:
    """Runs a ticket as one BLS call to NAME_bag, which asks only for the taps of the wanted exits."""

    def __init__(self, manifest):
        self._model = bag_model(manifest.bag)
        # each BLS call blocks one thread of ours and one of Triton's pool until the last tap
        self._pool = ThreadPoolExecutor(manifest.settings.max_tickets, thread_name_prefix="exeunt-bag")

    def attach(self, host):
        """See exeunt.hosting.host.Runner."""
        self._host = host

    def start(self, ticket, inputs):
        """See exeunt.hosting.host.Runner."""
        self._pool.submit(self._run, ticket, inputs)

    def close(self):
        """See exeunt.hosting.host.Runner."""
        self._pool.shutdown(wait=True)

    def metrics(self):
        """Triton's own statistics cover the segments."""
        return {}

    def _run(self, ticket, inputs):
        number = np.full((ticket.rows, 1), ticket.id, dtype=np.int64)
        tensors = [pb_utils.Tensor(name, array) for name, array in inputs.items()] + [pb_utils.Tensor(TICKET, number)]
        taps = [tap_name(exit_) for exit_ in np.flatnonzero(ticket.wanted)]
        try:
            call = pb_utils.InferenceRequest(model_name=self._model, inputs=tensors, requested_output_names=taps)
            response = call.exec()
            problem = response.error().message() if response.has_error() else "it ended before its last tap"
        except pb_utils.TritonModelException as error:
            problem = str(error)
        # after a good run the ticket is over already and this says nothing to anybody
        self._host.failed(ticket.id, ServingError(f"{self._model}: {problem}"))


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


def _engine(manifest, folder):
    """The in-process runner; imported only where it is used, since it needs onnxruntime."""
    from exeunt.engine.engine import Engine

    return Engine(manifest, folder)
