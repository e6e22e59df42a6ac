"""C16, C18, C24, C25: a killed server comes back with what it had learnt; clocks that jump; rows that mislead.

C16, killed and paused processes in either mode, is tests/serving/test_whole.py's, which starts `exeunt serve` as people
do: a process that died is named, the server is whole again on the same ports, and no answer is wrong.
"""

import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.stress.served import until
from exeunt.contract import Reason
from exeunt.hosting.status import find_status
from exeunt.serving.pip_server import serve
from tests.places import ROOT
from tests.triton.calls import ask, await_idle, controlled, manifest_of
from tests.triton.qa.bag import GOLD, ROWS, Served, export_qa_bag

pytestmark = pytest.mark.triton
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long jumps[] = {0, -3600, 86400, -86400, 0};  /* seconds by which the wall clock is wrong, in turns */
static unsigned turn;
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += jumps[turn++ % 5];
  return code;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  now->tv_sec = found.tv_sec; now->tv_usec = found.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *now) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (now) *now = found.tv_sec;
  return found.tv_sec;
}
"""


@pytest.fixture(scope="module", params=["ensemble", "engine"])
def learning(request, tmp_path_factory):
    """The bag with the tuner that learns."""
    return export_qa_bag(tmp_path_factory.mktemp(f"learning_{request.param}"), request.param, exit_table=GOLD)


def test_c18_after_a_kill_the_last_good_state_is_taken_over(triton, learning, tmp_path):
    state = tmp_path / "state"
    file = state / f"{manifest_of(learning).content_hash}.npz"
    with serve(learning, state_dir=state) as server:
        for _ in range(30):
            ask(server, "grpc", ROWS)
        await_idle(server)
        file.unlink(missing_ok=True)
        until(file.exists, 60)  # it is saved every few seconds
        server.kill()
    saved = file.read_bytes()
    with serve(learning, state_dir=state, log=tmp_path / "log") as server:
        assert "learnt state restored" in (tmp_path / "log").read_text(errors="replace")
        assert Served(learning, server).wrong(ask(server, "grpc", ROWS)) == []
    assert saved and file.exists()


def test_c24_deadlines_and_answers_do_not_mind_a_clock_that_jumps(tmp_path):
    """C24. Not on the server: when the clock jumps by an hour, Triton 24.10 itself gives its backend processes up (its
    waits are by the wall clock), and is started again. So our host, its threads and deadlines run here in a process
    of their own, whose wall clock jumps at every look.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/hosting/test_host.py"]
    env = os.environ | {"LD_PRELOAD": str(library)}
    run = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout


def test_c25_rows_that_mislead_leave_thresholds_within_bounds_and_the_promise_kept(triton, learning, tmp_path):
    rng = np.random.default_rng(0)
    with serve(learning, state_dir=tmp_path / "state") as server:
        for number in range(150):
            noise = rng.normal(size=ROWS.shape).astype(np.float32) * np.float32(10.0 ** (number % 7 - 3))
            ask(server, "grpc", ROWS if number % 3 else noise)
        await_idle(server)
        status = find_status(server.state_dir, "tiny")
        thresholds = [bound for bound in status.thresholds if bound is not None and not math.isnan(bound)]
        assert all(0.0 <= bound <= 1.0 for bound in thresholds)
        assert status.metrics["promise_broken"] == 0.0
        with controlled(server, learning, exits_off="all"):  # the kill switch
            outputs = ask(server, "grpc", ROWS)
        assert (outputs["REASON"] == Reason.FULL).all() and Served(learning, server).wrong(outputs) == []
