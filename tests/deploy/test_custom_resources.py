"""KEDA's, the Prometheus operator's and KServe's objects: every field is one that the operator takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from exeunt.errors import ConfigError
from tests.deploy.custom_resources import FIELDS, MODULES, check_fields, check_types
from tests.deploy.kube import VALUES, binary, rendered
from tests.places import ROOT

yaml = pytest.importorskip("yaml", reason="pip install 'exeunt[check]'")
jsonschema = pytest.importorskip("jsonschema", reason="pip install 'exeunt[check]'")
KSERVE = [
    item
    for path in sorted((ROOT / "deploy/kserve").glob("*.yaml"))
    for item in yaml.safe_load_all(path.read_text())
    if item["kind"] != "Kustomization"
]


def of_the_chart(kind: str) -> dict[str, Any]:
    """The first object of a kind that any set of values renders."""
    try:
        binary("helm")
    except ConfigError as error:
        pytest.skip(f"no helm: {error}")
    objects = (item for values in VALUES for item in yaml.safe_load_all(rendered(values)) if item)
    item: dict[str, Any] = next(item for item in objects if item["kind"] == kind)
    return item


def the(kind: str) -> dict[str, Any]:
    if kind in MODULES:
        return of_the_chart(kind)
    return next(item for item in KSERVE if item["kind"] == kind)


@pytest.mark.parametrize("kind", MODULES)
def test_the_charts_objects_have_no_field_that_their_operator_does_not_know(kind: str) -> None:
    check_fields(of_the_chart(kind))


@pytest.mark.parametrize("item", KSERVE, ids=lambda item: item["metadata"]["name"])
def test_kserves_objects_have_no_field_that_kserve_does_not_know(item: dict[str, Any]) -> None:
    check_fields(item)


@pytest.mark.parametrize("kind", sorted(kind for _, kind in FIELDS))
def test_a_misspelt_field_is_found(kind: str) -> None:
    wrong = copy.deepcopy(the(kind))
    wrong["spec"]["minReplikas"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minReplikas"):
        check_fields(wrong)


@pytest.mark.parametrize("kind", MODULES)
def test_the_operators_own_definition_takes_the_charts_object(kind: str) -> None:
    assert check_types(of_the_chart(kind)) == ""


@pytest.mark.parametrize(
    ("kind", "key", "value"), [("ScaledObject", "minReplicaCount", "two"), ("ServiceMonitor", "endpoints", None)]
)
def test_the_operators_own_definition_refuses_a_wrong_type(kind: str, key: str, value: object) -> None:
    wrong = copy.deepcopy(of_the_chart(kind))
    wrong["spec"][key] = value
    assert key in check_types(wrong)


@pytest.mark.parametrize(
    "item", [item for item in KSERVE if item["kind"] == "ServingRuntime"], ids=lambda item: item["metadata"]["name"]
)
def test_a_runtimes_containers_and_volumes_are_a_pods(item: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install 'exeunt[dev]'")
    spec = {key: item["spec"][key] for key in ("containers", "volumes")}
    validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}, "1.30", strict=True
    )
