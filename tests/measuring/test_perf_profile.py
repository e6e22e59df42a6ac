"""`exeunt profile`: times of the server that serves, in the manifest."""

import json
import shutil

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.measuring.served_segment_times import retimed
from tests.export.graphs import noise_rows


@pytest.fixture
def manifest(tiny_exported):
    return Manifest.load(tiny_exported / "tiny_exit/1/manifest.json")


def times_of(manifest, us):
    """The same time for every segment, half of it for heads."""
    sizes = manifest.exits[-1].elapsed_us
    segments = [segment.model for member in manifest.members for segment in member.segments]
    heads = [exit_.heads for exit_ in manifest.exits if exit_.heads]
    return {model: dict.fromkeys(sizes, us) for model in segments} | {
        model: dict.fromkeys(sizes, us / 2) for model in heads
    }


def test_an_exit_is_reached_when_its_slowest_member_is_there(manifest):
    after = retimed(manifest, times_of(manifest, 100.0))
    for exit_ in after.exits:
        assert set(exit_.elapsed_us.values()) == {100.0 * max(exit_.depths)}
        assert set(exit_.head_us.values()) == ({50.0} if exit_.heads else {0.0})


def test_new_times_leave_what_was_learnt_valid(manifest):
    assert retimed(manifest, times_of(manifest, 1.0)).content_hash == manifest.content_hash


def test_another_bag_is_refused_with_those_there_are(tiny_exported, tmp_path, capsys):
    line = ["profile", str(tiny_exported), "--bag", "big", "--input", str(tmp_path / "x.npy")]
    assert main(line) == ConfigError.exit_code
    assert "allowed: tiny" in capsys.readouterr().err


@pytest.mark.triton
def test_the_servers_times_end_in_the_manifest(tiny_server, tiny_exported, tmp_path, capsys):
    shutil.copytree(tiny_exported, tmp_path / "repository")
    np.save(tmp_path / "rows.npy", noise_rows(4, 1, 16))
    path = tmp_path / "repository/tiny_exit/1/manifest.json"
    before = Manifest.load(path)
    line = ["profile", str(tmp_path / "repository"), "--input", str(tmp_path / "rows.npy"), "--json"]
    assert main([*line, "--url", f"grpc://{tiny_server.grpc_url}"]) == 0
    printed, after = json.loads(capsys.readouterr().out), Manifest.load(path)
    segment = after.members[0].segments[0]
    assert printed[segment.model] == {str(size): us for size, us in segment.cost_us.items()}
    assert set(segment.cost_us) == set(before.members[0].segments[0].cost_us)
    assert min(us for times in printed.values() for us in times.values()) > 0
    assert all(np.diff([exit_.elapsed_us[1] for exit_ in after.exits]) >= 0)
