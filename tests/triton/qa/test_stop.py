"""C17, and the last moment of a stop: what was accepted is answered, and whoever comes late is told so, not cut off."""

import http.client
import json
import threading
import time
from collections import Counter

import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from exeunt.serving.pip_server import serve
from exeunt.serving.processes import members
from tests.triton.qa.bag import ROWS, Served
from tests.triton.qa.wire import tensor

pytestmark = pytest.mark.triton
BODY = json.dumps({"inputs": [tensor(ROWS[:1])], "outputs": [{"name": "LABEL"}]}).encode()
CALLERS, AFTER_S = 12, 1.0


class Caller:
    """Asks over one kept HTTP connection all the time, and begins a new one when the server has closed it.

    Attributes:
        statuses: how often each status came, and "cut" for whole requests that got none.
        refused: a new connection was refused: the listener has closed.
    """

    def __init__(self, url, think_s):
        self.statuses, self.refused = Counter(), False
        self._url, self._think_s = url, think_s
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        connection = http.client.HTTPConnection(self._url, timeout=60)
        while not self.refused:
            try:
                connection.request("POST", "/v2/models/tiny/infer", BODY)
                answer = connection.getresponse()
                answer.read()
                self.statuses[answer.status] += 1
            except ConnectionRefusedError:
                self.refused = True
            except (OSError, http.client.HTTPException):
                self.statuses["cut"] += 1
                connection.close()
            time.sleep(self._think_s)
        connection.close()


def test_c17_late_requests_on_kept_connections_are_told_to_come_again_and_nobody_is_cut_off(
    triton, qa_repository, tmp_path
):
    with serve(qa_repository, state_dir=tmp_path / "state") as server:
        callers = [Caller(server.http_url, 0.02 * (number % 3)) for number in range(CALLERS)]
        for caller in callers:
            caller.thread.start()
        time.sleep(AFTER_S)
    for caller in callers:
        caller.thread.join(60)
    statuses = sum((caller.statuses for caller in callers), Counter())
    assert statuses.keys() <= {200, 503} and statuses[200] and statuses[503] >= CALLERS
    assert all(caller.refused for caller in callers) and server.drained


def test_c17_grpc_callers_are_answered_right_or_told_unavailable_to_the_end(triton, qa_repository, tmp_path):
    odd, answered, server_stopped = [], [], threading.Event()

    def ask(served):
        with grpc.InferenceServerClient(served.server.grpc_url) as client:
            image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
            while not server_stopped.is_set():
                try:
                    result = client.infer("tiny", [image], client_timeout=60)
                except InferenceServerException as error:
                    if error.status() != "StatusCode.UNAVAILABLE":
                        odd.append(str(error))
                    continue
                answered.append({name: result.as_numpy(name) for name in ("EXIT", "LABEL", "PROBABILITIES")})

    with serve(qa_repository, state_dir=tmp_path / "state") as server:
        served = Served(qa_repository, server)
        callers = [threading.Thread(target=ask, args=(served,)) for _ in range(6)]
        for caller in callers:
            caller.start()
        time.sleep(AFTER_S)
    server_stopped.set()
    for caller in callers:
        caller.join(60)
    assert odd == [] and answered
    assert [wrong for wrong in map(served.wrong, answered) if wrong] == []
    assert members(server.pid) == []
