"""What the real kubectl and its kustomize say of our files without a cluster."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exeunt.errors import ConfigError
from tests.deploy.kube import VALUES, binary, golden
from tests.places import ROOT

yaml = pytest.importorskip("yaml", reason="pip install 'exeunt[check]'")
KSERVE = ROOT / "deploy/kserve"


@pytest.fixture(scope="module")
def kubectl() -> Path:
    try:
        return binary("kubectl")
    except ConfigError as error:
        pytest.skip(f"no kubectl: {error}")


def run(kubectl: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([kubectl, *words], input=stdin, capture_output=True, text=True, check=False)


def objects(text: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(text) if item]


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.name.split(".")[0])
def test_kubectl_reads_every_object_of_the_chart(kubectl: Path, values: Path) -> None:
    text = golden(values).read_text()
    ended = run(kubectl, "label", "--local", "-f", "-", "read=yes", "-o", "name", stdin=text)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.split()) == len(objects(text))


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.name.split(".")[0])
def test_kubernetes_own_types_take_the_deployment(kubectl: Path, values: Path) -> None:
    (deployment,) = (item for item in objects(golden(values).read_text()) if item["kind"] == "Deployment")
    words = ("set", "image", "--local", "-f", "-", "triton=other:1", "-o", "yaml")
    ended = run(kubectl, *words, stdin=yaml.safe_dump(deployment))
    assert ended.returncode == 0, ended.stderr
    (server,) = yaml.safe_load(ended.stdout)["spec"]["template"]["spec"]["containers"]
    assert server["image"] == "other:1" and server["ports"]
    deployment["spec"]["minReadySeconds"] = "soon"
    assert "minReadySeconds" in run(kubectl, *words, stdin=yaml.safe_dump(deployment)).stderr


def test_kustomize_builds_what_the_kserve_files_say(kubectl: Path) -> None:
    ended = run(kubectl, "kustomize", str(KSERVE))
    assert ended.returncode == 0, ended.stderr
    expected = [
        item
        for name in ("inferenceservice", "servingruntime")
        for item in objects((KSERVE / f"{name}.yaml").read_text())
    ]
    assert sorted(objects(ended.stdout), key=lambda item: item["kind"]) == sorted(
        expected, key=lambda item: item["kind"]
    )


def test_kustomize_takes_the_folder_as_a_base(kubectl: Path, tmp_path: Path) -> None:
    (tmp_path / "kserve").mkdir()
    for path in KSERVE.glob("*.yaml"):
        (tmp_path / "kserve" / path.name).write_text(path.read_text())
    (tmp_path / "own").mkdir()
    change = {"op": "replace", "path": "/spec/predictor/model/storageUri", "value": "s3://shop/fruit"}
    patch = json.dumps([change])
    overlay = f"resources: [../kserve]\npatches:\n  - target: {{kind: InferenceService}}\n    patch: '{patch}'\n"
    (tmp_path / "own/kustomization.yaml").write_text(overlay)
    ended = run(kubectl, "kustomize", str(tmp_path / "own"))
    assert ended.returncode == 0, ended.stderr
    (service,) = (item for item in objects(ended.stdout) if item["kind"] == "InferenceService")
    assert service["spec"]["predictor"]["model"]["storageUri"] == "s3://shop/fruit"
