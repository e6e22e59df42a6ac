"""Objects of Kubernetes' extensions, held to what their operators take: no schema of Kubernetes knows them.

Two judges. `FIELDS` are the fields that the documentation of KEDA, the Prometheus operator and KServe names for what we
use, and nothing else: a misspelt one is found, where a cluster would drop it silently. Types and required fields are
judged by the validators that npm packages generate from the operators' own definitions, where npm is to be had.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path.home() / ".cache" / "exeunt" / "kube" / "npm"
PACKAGES = ("@kubernetes-models/keda@0.4.2", "@kubernetes-models/prometheus-operator@6.0.0")
MODULES = {
    "ScaledObject": "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject",
    "ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
}
_SCRIPT = """
import { readFileSync } from "node:fs";
const [module, kind] = process.argv.slice(1);
const kinds = await import(module);
try { new kinds[kind](JSON.parse(readFileSync(0, "utf8"))).validate(); }
catch (error) { console.error(error.message); process.exit(1); }
"""

TEXT, COUNT, FLAG, ANY = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def table(required: str = "", **fields: Any) -> dict[str, Any]:
    """A schema of an object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "properties": fields, "required": required.split()}


def several(item: dict[str, Any]) -> dict[str, Any]:
    """A schema of a list with at least one entry."""
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values: str) -> dict[str, Any]:
    """A schema of a word."""
    return {"enum": list(values)}


_PROMETHEUS_TRIGGER = table(
    "serverAddress query threshold",
    serverAddress=TEXT,
    query=TEXT,
    threshold=TEXT,
    activationThreshold=TEXT,
    ignoreNullValues=one_of("true", "false"),
    namespace=TEXT,
    authModes=TEXT,
    timeout=TEXT,
    unsafeSsl=one_of("true", "false"),
)
_SCALED_OBJECT = table(
    "scaleTargetRef triggers",
    scaleTargetRef=table("name", name=TEXT, kind=TEXT, apiVersion=TEXT, envSourceContainerName=TEXT),
    pollingInterval=COUNT,
    cooldownPeriod=COUNT,
    initialCooldownPeriod=COUNT,
    idleReplicaCount=COUNT,
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    fallback=table(
        "failureThreshold replicas",
        failureThreshold=COUNT,
        replicas=COUNT,
        behavior=one_of("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
    ),
    advanced=table(
        restoreToOriginalReplicaCount=FLAG,
        horizontalPodAutoscalerConfig=table(
            name=TEXT, behavior=table(scaleUp=ANY, scaleDown=table(stabilizationWindowSeconds=COUNT, policies=ANY))
        ),
        scalingModifiers=ANY,
    ),
    triggers=several(
        table(
            "type metadata",
            type=one_of("prometheus"),
            name=TEXT,
            metadata=_PROMETHEUS_TRIGGER,
            metricType=one_of("AverageValue", "Value"),
            authenticationRef=table("name", name=TEXT, kind=TEXT),
            useCachedMetrics=FLAG,
        )
    ),
)
_SERVICE_MONITOR = table(
    "selector endpoints",
    selector=table(matchLabels=TEXTS, matchExpressions=ANY),
    namespaceSelector=table(any=FLAG, matchNames=several(TEXT)),
    jobLabel=TEXT,
    targetLabels=several(TEXT),
    podTargetLabels=several(TEXT),
    endpoints=several(
        table("port", port=TEXT, path=TEXT, scheme=TEXT, interval=TEXT, scrapeTimeout=TEXT, honorLabels=FLAG)
    ),
)
_SERVING_RUNTIME = table(
    "supportedModelFormats containers",
    annotations=TEXTS,
    labels=TEXTS,
    disabled=FLAG,
    multiModel=FLAG,
    protocolVersions=several(one_of("v1", "v2", "grpc-v1", "grpc-v2")),
    supportedModelFormats=several(table("name", name=TEXT, version=TEXT, autoSelect=FLAG, priority=COUNT)),
    containers=several(ANY),  # Kubernetes' own: judged as a pod's
    volumes=several(ANY),
    nodeSelector=TEXTS,
    tolerations=ANY,
    imagePullSecrets=ANY,
)
_EXTERNAL_METRIC = table(
    "metric target",
    metric=table(
        "backend serverAddress query", backend=one_of("prometheus", "graphite"), serverAddress=TEXT, query=TEXT
    ),
    target=table("type", type=one_of("Value", "AverageValue"), value=TEXT, averageValue=TEXT),
    authenticationRef=ANY,
)
_INFERENCE_SERVICE = table(
    "predictor",
    predictor=table(
        "model",
        annotations=TEXTS,
        labels=TEXTS,
        minReplicas=COUNT,
        maxReplicas=COUNT,
        containerConcurrency=COUNT,
        timeout=COUNT,
        terminationGracePeriodSeconds=COUNT,
        serviceAccountName=TEXT,
        nodeSelector=TEXTS,
        tolerations=ANY,
        model=table(
            "modelFormat runtime storageUri",
            modelFormat=table("name", name=TEXT, version=TEXT),
            runtime=TEXT,
            protocolVersion=one_of("v1", "v2", "grpc-v2"),
            storageUri={"type": "string", "pattern": "^(pvc|s3|gs|https?|hf)://"},
            resources=ANY,
            env=ANY,
        ),
        autoScaling=table(
            "metrics", metrics=several(table("type", type=one_of("External"), external=_EXTERNAL_METRIC))
        ),
    ),
)
_METADATA = table("name", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
FIELDS = {
    ("keda.sh/v1alpha1", "ScaledObject"): _SCALED_OBJECT,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _SERVICE_MONITOR,
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _SERVING_RUNTIME,
    ("serving.kserve.io/v1beta1", "InferenceService"): _INFERENCE_SERVICE,
}


def check_fields(item: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError where an object has a field or value that its operator does not take."""
    import jsonschema

    spec = FIELDS[item["apiVersion"], item["kind"]]
    whole = table("apiVersion kind metadata spec", apiVersion=TEXT, kind=TEXT, metadata=_METADATA, spec=spec)
    jsonschema.validate(item, whole)


def check_types(item: dict[str, Any]) -> str:
    """What the operator's own definition, as npm has it, finds wrong; "" for nothing. Skips where there is no npm."""
    ended = subprocess.run(
        ["node", "--input-type=module", "-e", _SCRIPT, MODULES[item["kind"]], item["kind"]],
        input=json.dumps(item),
        cwd=_packages(),
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stderr.strip() if ended.returncode else ""


def _packages() -> Path:
    """The folder with the npm packages, fetched once."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no npm, types of custom resources not judged: apt-get install npm")
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(PACKAGES):
        line = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(FOLDER)]
        FOLDER.mkdir(parents=True, exist_ok=True)
        ended = subprocess.run([*line, *PACKAGES], capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.skip(f"npm cannot fetch {PACKAGES}: {ended.stderr[-300:]}")
        stamp.write_text(" ".join(PACKAGES))
    return FOLDER
