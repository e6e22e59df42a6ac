"""Files of samples and labels as people save them: numbers of other types, objects, byte order marks."""

import json
import os

import numpy as np
import pytest

from exeunt.errors import ConfigError
from exeunt_export.bagfile import samples as sampling
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.export_progress import Stages
from exeunt_export.planning.opening import open_bag
from tests.export.readers.test_silent_faults import NAMES, ROWS, base


def opened(folder, samples, labels=""):
    base(folder / "m.onnx")
    np.save(folder / "s.npy", samples)
    text = f'name = "b"\nmode = "engine"\nsamples = "s.npy"\n{labels}\n[[member]]\nname = "m"\nfile = "m.onnx"\n'
    (folder / "bag.toml").write_text(text, encoding="utf-8")
    return open_bag(BagFile.read(folder / "bag.toml"), None, Stages(lambda stage, steps, total: None))


@pytest.mark.parametrize("kind", [np.float64, np.float16])
def test_floats_of_another_width_are_cast_with_a_note(tmp_path, kind):
    bag = opened(tmp_path, ROWS.astype(kind))
    np.testing.assert_array_equal(bag.samples["x"], ROWS.astype(kind).astype(np.float32))
    assert bag.members[0].member.remarks == (f"samples of input 'x' were {np.dtype(kind)}; they are taken as float32",)


def test_bytes_are_no_floats(tmp_path):
    with pytest.raises(ConfigError, match=r"wants float32.*hold uint8"):
        opened(tmp_path, ROWS.astype(np.uint8))


def test_objects_that_are_all_numbers_are_numbers(tmp_path):
    table = ROWS.astype(object)
    table[:, 0] = [int(value) for value in ROWS[:, 0]]
    assert opened(tmp_path, table).samples["x"].dtype == np.float32


def test_an_object_that_is_no_number_is_named_by_file_column_and_row(tmp_path):
    table = ROWS.astype(object)
    table[3, 2] = "Graz"
    np.save(tmp_path / "s.npy", table)
    with pytest.raises(ConfigError, match=r"s\.npy: column 2, row 3: 'Graz' is no number"):
        sampling.load(tmp_path / "s.npy", "samples")


def test_objects_in_an_archive_are_named_by_their_array_too(tmp_path):
    np.savez(tmp_path / "s.npz", good=ROWS, bad=np.array([["a"]], dtype=object))
    with pytest.raises(ConfigError, match=r"array 'bad': .*s\.npz: column 0, row 0: 'a' is no number"):
        sampling.load(tmp_path / "s.npz", "samples")


class Harm:
    def __reduce__(self):
        return os.system, ("echo harm",)


def test_objects_that_would_run_something_run_nothing(tmp_path, capfd):
    table = np.empty((2, 1), dtype=object)
    table[:] = [[1.0], [Harm()]]
    np.save(tmp_path / "s.npy", table)
    with pytest.raises(ConfigError, match="no numbers"):
        sampling.load(tmp_path / "s.npy", "samples")
    assert "harm" not in capfd.readouterr().out


def test_a_large_array_of_an_archive_is_read_whole(tmp_path):
    large = np.random.default_rng(0).integers(0, 256, size=(70, 1 << 20), dtype=np.uint8)
    np.savez(tmp_path / "s.npz", x=large)
    array = sampling.load(tmp_path / "s.npz", "samples")["x"]
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, large)


def test_a_byte_order_mark_and_blank_last_lines_are_no_labels(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join([*NAMES, "", "  ", ""]), encoding="utf-8-sig")
    assert opened(tmp_path, ROWS, 'labels = "labels.txt"').labels == tuple(NAMES)


def test_a_blank_line_among_labels_is_counted(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join([NAMES[0], "", *NAMES[1:]]), encoding="utf-8")
    with pytest.raises(ConfigError, match="6 of them, but"):
        opened(tmp_path, ROWS, f"labels = {json.dumps('labels.txt')}")
