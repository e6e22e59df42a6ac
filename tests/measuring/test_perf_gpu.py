"""The GPU benchmark's command, on the CPU that is here."""

import json

import pytest

from exeunt.errors import ConfigError
from tests.export.tiny import tiny_bag

pytest.importorskip("onnxruntime", reason="pip install 'exeunt[engine]'")


def test_one_command_measures_every_variant_and_keeps_it(tmp_path):
    pytest.importorskip("onnxscript", reason="pip install 'exeunt[export]'")
    from benchmarks.gpu import main
    from exeunt_export.export_bag import export_bag

    export_bag(tiny_bag(tmp_path, mode="engine", members=2), tmp_path / "repository")
    line = ["--repository", str(tmp_path / "repository"), "--provider=cpu", "--batches=1,4", "--rounds=2"]
    main([*line, "--output", str(tmp_path / "out")])
    table = json.loads((tmp_path / "out/gpu.json").read_text())
    assert [item["batch"] for item in table["results"]] == [1, 4]
    exits = json.loads(next((tmp_path / "repository").glob("tiny_exit/1/manifest.json")).read_text())["exits"]
    assert list(table["results"][0]["ms"]) == ["series", "parallel", "cut", *(f"exit {n}" for n in range(len(exits)))]
    assert table["machine"]["providers"] == ["CPUExecutionProvider"]
    assert (tmp_path / "out/gpu.md").read_text().count("\n| 1 | ") == 1


def test_a_provider_that_is_not_there_is_an_operators_error():
    from benchmarks.gpu import main

    with pytest.raises(ConfigError, match="install onnxruntime-gpu"):
        main(["--provider", "tensorrt"])
