"""A record that the real server wrote, replayed through the tuner, gives the answers that its clients got."""

from __future__ import annotations

import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.contract import MANIFEST_FILE, exit_model
from exeunt.records.record import read_record
from exeunt.serving.pip_server import serve
from tests.export.graphs import noise_rows
from tests.triton.calls import ask, manifest_of

REQUESTS = 240


@pytest.mark.triton
@pytest.mark.parametrize("tuner", ["budget", "hill_climb"])
def test_a_live_run_replayed_gives_the_same_answers(
    triton: None, tiny_exported: Path, tmp_path: Path, tuner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    repository, records = tmp_path / "repository", tmp_path / "records"
    shutil.copytree(tiny_exported, repository)
    manifest = manifest_of(repository)
    settings = dataclasses.replace(
        manifest.settings,
        tuner=tuner,
        tuner_options={},
        max_loss=0.3,  # untrained members know little: with less nobody might leave
        lossless=True,
        shadow_share=0.1,
        gear="exits",  # the tiny members take no time: exits do not pay
        records_dir=str(records),
    )
    exits = tuple(
        dataclasses.replace(exit_, elapsed_us={1: 1000.0 * number}, head_us={1: 1.0})
        for number, exit_ in enumerate(manifest.exits, start=1)  # given times: whether exits pay is not the machine's
    )
    served_manifest = dataclasses.replace(manifest, settings=settings, exits=exits)
    served_manifest.save(repository / exit_model("tiny") / "1" / MANIFEST_FILE)

    def request(number: int) -> np.ndarray:
        rows = noise_rows(1 + number % 8, 100 + number, 16)
        return ask(server, "grpc", rows)["EXIT"][:, 0]

    with serve(repository, state_dir=tmp_path / "state") as server, ThreadPoolExecutor(4) as clients:
        exits = np.concatenate(list(clients.map(request, range(REQUESTS))))

    recorded = read_record(records)
    assert len(recorded.decided) == len(exits)
    np.testing.assert_array_equal(np.bincount(recorded.decided.rows.exit), np.bincount(exits))
    assert main(["replay", str(records), "--repository", str(repository), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["as_recorded"][tuner] == 1.0
    assert table["results"][1]["jobs"] > 1 and len(np.unique(exits)) > 1
