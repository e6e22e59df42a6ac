"""Every panel of the dashboard, asked of a real Prometheus that scrapes a real run, and drawn in a real browser."""

import dataclasses
import json
import threading
import time

import numpy as np
import pytest
import yaml
from tritonclient import grpc

from benchmarks.dashboard.page import filled, page
from exeunt.serving.pip_server import serve
from tests.deploy.container import until
from tests.deploy.prometheus import running_prometheus
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.places import ROOT
from tests.serving.browser import running_browser

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/exeunt.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {"bag": "tiny", "instance": ".*", "__rate_interval": "1m"}
# what only a GPU, a busy host or the mode engine has to tell; asked all the same, for their syntax
MAY_BE_EMPTY = {"nv_gpu_utilization", "nv_cpu_utilization", "full_work_us_total"}
DRAWN = """[...document.querySelectorAll("section")].map(panel => [
    panel.querySelector("h3").textContent, panel.querySelectorAll(".mark").length])"""
CUT_OFF = """[...document.querySelectorAll("svg text, h3")].filter(words => {
    const inner = words.getBoundingClientRect(), outer = words.closest("section").getBoundingClientRect();
    return inner.left < outer.left || inner.right > outer.right || inner.top < outer.top || inner.bottom > outer.bottom;
}).map(words => words.textContent)"""


@pytest.fixture(scope="module")
def server(triton, tmp_path_factory):
    """A bag in ensemble mode under the promise, without its baseline, to start quickly."""
    pytest.importorskip("onnxscript", reason="pip install 'exeunt[export]'")
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
    samples = prometheus.query(filled(expression, VARIABLES))
    assert samples or any(name in expression for name in MAY_BE_EMPTY), expression


@pytest.fixture(scope="module")
def browser(prometheus, tmp_path_factory):
    """The dashboard of the run's last minute, open."""
    folder, end_s = tmp_path_factory.mktemp("browser"), time.time()
    (folder / "page.html").write_text(page(DASHBOARD, prometheus.url, VARIABLES, (end_s - 60, end_s)))
    with running_browser(folder) as browser:
        browser.call("Page.navigate", url=(folder / "page.html").as_uri())
        browser.until("document.readyState", "complete")
        yield browser


@pytest.mark.triton
def test_every_panel_is_drawn_under_its_title(browser):
    drawn = browser.value(DRAWN)
    assert [title for title, _ in drawn] == [panel["title"] for panel in PANELS]
    assert {title for title, marks in drawn if not marks} <= {"GPU and CPU"}


@pytest.mark.triton
def test_nothing_that_is_written_is_cut_off_or_left_open(browser):
    assert browser.value(CUT_OFF) == []
    assert not [words for words in browser.value("document.body.innerText").splitlines() if "{{" in words]


@pytest.mark.triton
def test_a_healthy_run_raises_no_alert(prometheus):
    rules = prometheus.api("rules")["groups"]
    unhealthy = [rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"]
    assert not unhealthy
    assert not [alert["labels"] for alert in prometheus.api("alerts")["alerts"] if alert["state"] == "firing"]


def test_every_panel_names_the_provisioned_data_source():
    config = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = config["datasources"][0]["uid"]
    named = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    named |= {variable["datasource"]["uid"] for variable in DASHBOARD["templating"]["list"]}
    assert named == {uid}


def test_panels_have_descriptions_units_and_do_not_overlap():
    occupied_cells = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & occupied_cells, panel["title"]
        occupied_cells |= cells
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_every_question_of_an_operator_has_its_row():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Is the promise kept?", "Who leaves where?", "How long do clients wait?", "Load", "What is saved?"),
    ]
