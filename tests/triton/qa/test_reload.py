"""C22: under traffic nobody can reload, replace or unload a model, so no answer mixes two versions of a bag.

A new export is served by a restart (or by another replica): `content_hash` names what is served, and learnt state of
another hash is not taken over (tests/hosting/test_state.py).
"""

import threading

import pytest

from exeunt.serving.pip_server import Server
from tests.triton.calls import ask
from tests.triton.qa.bag import ROWS
from tests.triton.qa.wire import call

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_c22_models_can_neither_be_loaded_nor_unloaded_under_traffic(served, verb):
    stop, wrong = threading.Event(), []

    def traffic():
        while not stop.is_set():
            wrong.extend(served.wrong(ask(served.server, "grpc", ROWS)))

    callers = [threading.Thread(target=traffic) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for model in served.server.models:
            assert _refused(served.server, f"/v2/repository/models/{model}/{verb}")
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert wrong == []


def _refused(server: Server, path: str) -> bool:
    status, body = call(server.http_url, "POST", path, b"{}")
    return status >= 400 and b"error" in body
