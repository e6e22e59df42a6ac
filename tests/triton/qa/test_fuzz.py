"""Some thousands of odd requests in either mode; `python -m benchmarks.fuzz` sends as many as one likes."""

import pytest

from benchmarks.fuzz.run import PHASES, fuzz
from exeunt.serving.pip_server import serve
from tests.triton.qa.bag import GOLD, Served, export_qa_bag

pytestmark = pytest.mark.triton
REQUESTS = 4000


@pytest.mark.parametrize("mode", ["ensemble", "engine"])
def test_odd_requests_kill_hang_leak_and_falsify_nothing(triton, tmp_path, mode):
    repository = export_qa_bag(tmp_path, mode, exit_table=GOLD)
    with serve(repository, state_dir=tmp_path / "state") as server:
        phases = fuzz(Served(repository, server), REQUESTS, seed=1)
    assert [(phase.name, phase.complaints) for phase in phases] == [(name, []) for name in PHASES]
    assert all(len(phase.outcomes) > 1 for phase in phases)  # some were answered, some were refused
    assert server.drained
