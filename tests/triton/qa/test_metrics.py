"""C26 and C27: what grows and what must not; what the metrics endpoint says."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exeunt.hosting.metrics import COUNTERS, GAUGES
from exeunt.serving.processes import members
from tests.triton.calls import ask, await_idle
from tests.triton.qa.bag import B_FAILS, ROWS
from tests.triton.qa.metrics import read_samples
from tests.triton.qa.wire import infer

pytestmark = pytest.mark.triton


def test_c26_descriptors_threads_and_shared_memory_are_flat_after_warm_up_at_any_concurrency(served):
    """C26. The hours of it, and memory to 2 %, are benchmarks/soak.py; here is what shows within seconds."""
    load(served, 64, 640)  # the highest concurrency first: pools have their size then
    before = counts(served)
    for concurrency in (1, 8, 64):
        load(served, concurrency, 320)
    after = settled(served, before)
    assert {kind: after[kind] - before[kind] for kind in before if after[kind] > before[kind]} == {}


def load(served, concurrency, requests):
    with ThreadPoolExecutor(concurrency) as pool:
        answers = pool.map(lambda number: ask(served.server, ("http", "grpc")[number % 2], ROWS), range(requests))
        assert [wrong for wrong in map(served.wrong, answers) if wrong] == []
    await_idle(served.server)


def counts(served):
    processes = members(served.server.pid)
    return {
        "processes": len(processes),
        "threads": sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in processes),
        "descriptors": sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in processes),
        "regions": len(list(Path("/dev/shm").glob(f"*{served.server.name}*"))),
    }


def settled(served, before):
    """Counts once connections of clients that have gone are closed, or after half a minute."""
    end = time.monotonic() + 30
    while True:
        current = counts(served)
        if all(current[kind] <= before[kind] for kind in before) or time.monotonic() > end:
            return current
        time.sleep(0.5)


def test_c27_the_exposition_is_valid_and_every_family_of_ours_is_known(served):
    ask(served.server, "http", ROWS)
    families = {name for name, _ in read_samples(served.server) if name.startswith("exeunt_")}
    assert families and families <= {*COUNTERS, *GAUGES}


def test_c27_counters_never_fall_and_no_request_makes_a_new_series(served):
    before = read_samples(served.server)
    for number in range(40):
        strangers_words = {
            "id": f"id-{number}",
            "parameters": {f"made_up_{number}": number, "service_class": f"c{number}"},
        }
        infer(served.server.http_url, {"inputs": [], **strangers_words}, model=("tiny", f"nobody_{number}")[number % 2])
        ask(served.server, "grpc", ROWS, **{f"made_up_{number}": number})
        if number % 10 == 0:
            with pytest.raises(Exception, match="tiny_b"):
                ask(served.server, "grpc", ROWS + B_FAILS, exit="never")
    await_idle(served.server)
    time.sleep(1.5)  # metrics follow about once a second
    after = read_samples(served.server)
    ours = {key for key in after if key[0].startswith("exeunt_")}
    assert {key for key in ours - before.keys() if "made_up" in str(key) or "nobody" in str(key)} == set()
    assert len(ours) <= len({key for key in before if key[0].startswith("exeunt_")}) + 5  # thread faults, gears
    fell = {k: (v, after[k]) for k, v in before.items() if k[0] in COUNTERS and after[k] < v}
    assert fell == {}
    assert after.keys() >= before.keys()
