"""An export holds little at a time: samples, features and weights lie in files, one member's sessions are open."""

import numpy as np
import onnx_ir as ir
import pytest

from exeunt.bag_parts import first_rows
from exeunt_export import onnxfiles
from exeunt_export.bagfile import samples as sampling
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.cutting.split import make_cut, split
from exeunt_export.export_progress import Stages
from exeunt_export.mapped import mapped_zeros, release_pages
from exeunt_export.planning.opening import open_bag
from exeunt_export.profile import segment_times
from tests.export.cutting.test_split import measured, opened
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag


def chain_of(tmp_path):
    member, places, rows = measured("residual")
    return opened(split(member, [make_cut(member, places[k], member.classes, (2,)) for k in (2, 6)]), tmp_path)[0], rows


def test_samples_of_a_plain_file_are_mapped(tmp_path):
    np.save(tmp_path / "x.npy", noise_rows(60, 0))
    assert isinstance(sampling.load(tmp_path / "x.npy", "samples")[""], np.memmap)


def test_what_was_let_go_is_still_there():
    array = mapped_zeros((1000, 10), "float32")
    array[:] = 7
    release_pages(array, array[5:], np.ones(3))
    assert (array == 7).all()


def test_weights_of_opened_members_lie_in_files(tmp_path):
    bag = open_bag(BagFile.read(tiny_bag(tmp_path, members=2)), None, Stages(lambda stage, steps, total: None))
    for member in bag.members:
        values = [value.const_value for value in member.member.model.graph.initializers.values()]
        large = [value for value in values if value is not None and value.nbytes >= 1 << 16]
        assert all(isinstance(value.numpy(), np.memmap) for value in large)


def test_a_spilled_model_says_what_it_said(tmp_path):
    member, _, rows = measured("residual")
    model = member.model.clone()
    before = onnxfiles.run(onnxfiles.open_in_memory(model, "m"), rows, "m")["PROBABILITIES"]
    model.graph.initializers["large"] = ir.Value(name="large", const_value=ir.tensor(np.ones((200, 200), np.float32)))
    onnxfiles.spill(model)
    assert isinstance(model.graph.initializers["large"].const_value.numpy(), np.memmap)
    after = onnxfiles.run(onnxfiles.open_in_memory(model, "m"), rows, "m")["PROBABILITIES"]
    np.testing.assert_array_equal(after, before)


def test_observed_features_are_those_of_a_whole_run_whatever_the_batch(tmp_path):
    chain, rows = chain_of(tmp_path)
    whole = [outputs["FEATURES"] for outputs in chain.run(rows)[:-1]]
    for batch in (1, 3, 8):
        features, votes = chain.observe(rows, batch, tmp_path / f"by_{batch}")
        for observed, expected in zip(features, whole, strict=True):
            np.testing.assert_allclose(observed, expected, rtol=1e-4, atol=1e-5)
        assert votes.shape == (8, 8) and all(isinstance(array, np.memmap) for array in [*features, votes])


def test_a_walk_holds_only_what_later_segments_read(tmp_path):
    chain, rows = chain_of(tmp_path)
    names = [set(outputs) for outputs, _ in chain.walk(rows)]
    assert [name for name in names[-1]] == ["PROBABILITIES"]
    assert all(took > 0 for _, took in chain.walk(rows))


def test_timing_a_chain_closes_it(tmp_path):
    chain, rows = chain_of(tmp_path)
    costs = segment_times.profile_chain(chain, rows, [1, 2], lambda: None)
    assert [set(cost) for cost in costs] == [{1, 2}] * 3
    assert chain._sessions == ()


@pytest.mark.parametrize("rows", [1, 5])
def test_feeds_are_made_of_the_first_rows_alone(rows):
    """np.resize of all samples would copy them all."""

    class Counted(np.ndarray):
        most = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            Counted.most = max(Counted.most, len(part) if part.ndim else 0)
            return part

    first_rows({"x": np.zeros((1000, 4), np.float32).view(Counted)}, rows)
    assert Counted.most == rows
