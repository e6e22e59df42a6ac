"""Every panel of the dashboard, asked of a real Prometheus that scrapes a real run."""

import dataclasses
import json
import threading

import numpy as np
import pytest
import yaml
from tritonclient import grpc

from exeunt.serving.pip_server import serve
from tests.deploy.container import until
from tests.deploy.prometheus import running_prometheus
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.places import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/exeunt.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {"$bag": "tiny", "${bag}": "tiny", "$instance": ".*", "$__rate_interval": "1m"}
# what only a GPU, a busy host or the budget tuner has to tell; asked all the same, for their syntax
MAY_BE_EMPTY = {"nv_gpu_utilization", "nv_cpu_utilization"}


def filled(expression: str) -> str:
    """A panel's query with the dashboard's variables in their places."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@pytest.fixture(scope="module")
def server(triton, tmp_path_factory):
    """A bag in ensemble mode under the promise, without its baseline, to start quickly."""
    pytest.importorskip("torch", reason="pip install 'exeunt[export]'")
    from exeunt_export.bagfile.bagfile import BagFile
    from exeunt_export.export_bag import export_bag

    folder = tmp_path_factory.mktemp("dashboard")
    bag = BagFile.read(tiny_bag(folder, members=2, exit_table='tuner = "budget"'))
    plain = dataclasses.replace(bag, serving=dataclasses.replace(bag.serving, baseline=False))
    export_bag(plain, folder / "repository")
    with serve(folder / "repository") as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    """Prometheus, some seconds into a run with traffic."""
    stop = threading.Event()
    traffic = threading.Thread(target=_traffic, args=(server.grpc_url, stop))
    target = server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    with running_prometheus(target, tmp_path_factory.mktemp("prometheus")) as running:
        traffic.start()
        try:
            until(lambda: running.query("bag:exeunt_bag_duration_us:mean5m and bag:exeunt_early:ratio_rate5m"), 60)
            until(lambda: running.query("bag:exeunt_loss:ratio_rate1h"), 30)
            yield running
        finally:
            stop.set()
            traffic.join()


def _traffic(url: str, stop: threading.Event) -> None:
    rows = noise_rows(64, 5, 16)
    with grpc.InferenceServerClient(url) as client:
        for number in range(10_000):
            row = rows[number % len(rows)][None]
            tensor = grpc.InferInput("IMAGE", list(row.shape), "FP32")
            tensor.set_data_from_numpy(np.ascontiguousarray(row))
            client.infer("tiny", [tensor])
            if stop.wait(0.05):
                return


@pytest.mark.triton
@pytest.mark.parametrize(("title", "expression"), TARGETS, ids=[f"{title}-{n}" for n, (title, _) in enumerate(TARGETS)])
def test_a_panel_shows_something_of_a_real_run(prometheus, title, expression):
    samples = prometheus.query(filled(expression))
    assert samples or any(name in expression for name in MAY_BE_EMPTY), expression


@pytest.mark.triton
def test_a_healthy_run_raises_no_alert(prometheus):
    rules = prometheus.api("rules")["groups"]
    unhealthy = [rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"]
    assert not unhealthy
    assert not [alert["labels"] for alert in prometheus.api("alerts")["alerts"] if alert["state"] == "firing"]


def test_every_panel_names_the_provisioned_data_source():
    found = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = found["datasources"][0]["uid"]
    named = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    named |= {variable["datasource"]["uid"] for variable in DASHBOARD["templating"]["list"]}
    assert named == {uid}


def test_panels_have_descriptions_units_and_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_every_question_of_an_operator_has_its_row():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Is the promise kept?", "Who leaves where?", "How long do clients wait?", "Load", "What is saved?"),
    ]
