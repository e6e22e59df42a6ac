"""How much runs slow each other down: what is written, whatever this machine's cores do."""

import dataclasses

import numpy as np
import pytest

from exeunt.costing.answers import answer_mix
from exeunt.costing.deployments import carried_per_s
from exeunt.errors import ConfigError
from exeunt_export.cutting.chain import Chain
from exeunt_export.export_bag import export_bag
from exeunt_export.profile.crowding import slowdown_of
from tests.engine.scenes import engine_bag
from tests.export.graphs import noise_rows, residual_net
from tests.export.tiny import CLASSES, SIDE, tiny_bag


@pytest.fixture
def chain(tmp_path):
    residual_net(tmp_path / "net.onnx", 0, 0, CLASSES, SIDE)
    return Chain("net", (tmp_path / "net.onnx",))


@pytest.mark.parametrize(("workers", "sizes"), [(1, 0), (2, 2), (5, 5)])
def test_there_is_a_number_for_each_number_of_runs(chain, workers, sizes):
    slowdowns = slowdown_of(chain, {"IMAGE": noise_rows(2, 0, SIDE)}, workers)
    assert len(slowdowns) == sizes
    assert all(np.diff((1.0, *slowdowns)) >= 0)


def test_a_bag_with_counted_times_says_nothing_of_this_machine(tmp_path):
    report = export_bag(tiny_bag(tmp_path, mode="engine"), tmp_path / "repository")
    assert report.manifest.slowdown == ()


def test_a_measured_export_writes_it_and_keeps_what_was_learnt_valid(tmp_path):
    bag = tiny_bag(tmp_path, mode="engine", exit_table="workers = 2")
    bag.write_text(bag.read_text().replace('times = "counted"', 'times = "measured"'))
    manifest = export_bag(bag, tmp_path / "repository").manifest
    assert len(manifest.slowdown) == 2
    assert dataclasses.replace(manifest, slowdown=(1.0, 9.0)).content_hash == manifest.content_hash


def test_a_manifest_with_an_absurd_one_is_refused():
    bag = dataclasses.replace(engine_bag([[10.0], [10.0]], ((1, 0), (1, 1))), slowdown=(1.0, 0.2))
    with pytest.raises(ConfigError, match="slowdown"):
        bag.check("manifest.json")


def test_what_a_machine_carries_counts_its_cores_for_what_they_are_worth():
    bag = engine_bag([[1000.0], [1000.0]], ((1, 0), (1, 1)))
    crowded = dataclasses.replace(bag, slowdown=(1.0, 1.6))
    rates = [carried_per_s(answer_mix(one, [0.0, 1.0], cores=2), cores=2) for one in (bag, crowded)]
    assert rates[1] == pytest.approx(rates[0] / 1.6)
