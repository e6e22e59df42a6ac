from __future__ import annotations

import functools
import itertools
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.contract import PROBABILITIES
from exeunt.errors import ServingError
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.counting import COUNTED
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.cuts import Boundary, boundaries
from exeunt_export.cutting.split import Split, make_cut, split
from exeunt_export.cutting.verify import verify
from exeunt_export.readers.graph import MemberGraph, load_member
from tests.export.graphs import Net, noise_rows, residual_net, two_cell_net


def random_net(path: Path, seed: int) -> Path:
    """A random graph of convolutions: every node reads one or two of the last four values, some are side outputs."""
    rng = np.random.default_rng(seed)
    net = Net(seed, ("rows", 1, 8, 8))
    values = [net.conv(net.input, 1, 4)]
    for _ in range(8):
        one, two = (values[-1 - int(rng.integers(min(len(values), 4)))] for _ in range(2))
        values.append(net.conv(one, 4, 4) if rng.random() < 0.6 else net.node("Add", one, two))
    joined = functools.reduce(lambda a, b: net.node("Add", a, b), values[-3:])
    return net.save(path, net.logits(joined, 4, 5, 8))


NETS = {"residual": residual_net, "two cells": two_cell_net} | {
    f"random {seed}": functools.partial(random_net, seed=seed) for seed in range(4)
}


@functools.cache
def measured(name: str) -> tuple[MemberGraph, tuple[Boundary, ...], dict[str, np.ndarray]]:
    with tempfile.TemporaryDirectory() as folder:
        side = 8 if name.startswith("random") else 16
        rows = {"IMAGE": noise_rows(8, seed=0, side=side)}
        member = load_member("m", NETS[name](Path(folder) / "m.onnx"), rows)
    places = boundaries(member, nodecosts.measure(member.model, rows, "m", COUNTED))
    return member, tuple(boundary for boundary in places if not boundary.usable), rows


def opened(parts: Split, folder: Path) -> tuple[Chain, Path]:
    files = [folder / f"s{number}.onnx" for number in range(len(parts.pieces))]
    for piece, file in zip(parts.pieces, files, strict=True):
        onnxfiles.save(piece.model, file)
    onnxfiles.save(parts.reference, folder / "reference.onnx")
    return Chain("m", files), folder / "reference.onnx"


@given(data=st.data(), name=st.sampled_from(list(NETS)))
@settings(max_examples=40, deadline=None)
def test_segments_in_sequence_equal_the_member(data: st.DataObject, name: str) -> None:
    member, places, rows = measured(name)
    numbers = sorted(data.draw(st.sets(st.integers(0, len(places) - 1), max_size=4), label="cuts"))
    cuts = [make_cut(member, places[boundary], member.classes, (2, 1)) for boundary in numbers]
    with tempfile.TemporaryDirectory() as folder:
        chain, reference = opened(split(member, cuts), Path(folder))
        assert verify(chain, reference, rows) <= 1e-5


def test_a_closed_chain_opens_its_files_again(tmp_path: Path) -> None:
    member, places, rows = measured(next(iter(NETS)))
    chain, _ = opened(split(member, [make_cut(member, places[1], member.classes, (1,))]), tmp_path)
    before, sessions = chain.run(rows)[-1], chain.sessions
    chain.close()
    np.testing.assert_array_equal(chain.run(rows)[-1][PROBABILITIES], before[PROBABILITIES])
    assert not set(sessions) & set(chain.sessions)


@given(data=st.data(), name=st.sampled_from(list(NETS)))
@settings(max_examples=15, deadline=None)
def test_segments_take_and_give_what_they_say(data: st.DataObject, name: str) -> None:
    member, places, rows = measured(name)
    numbers = sorted(data.draw(st.sets(st.integers(0, len(places) - 1), max_size=3), label="cuts"))
    parts = split(member, [make_cut(member, places[boundary], member.classes, (4,)) for boundary in numbers])
    with tempfile.TemporaryDirectory() as folder:
        chain, _ = opened(parts, Path(folder))
        for piece, session, outputs in zip(parts.pieces, chain.sessions, chain.run(rows), strict=True):
            items = [*piece.outputs, *([piece.features] if piece.features else [])]
            assert [input_.name for input_ in session.get_inputs()] == [input_.name for input_ in piece.inputs]
            assert {item.name: (item.dtype, item.dims) for item in items} == {
                name: (str(array.dtype), array.shape[1:]) for name, array in outputs.items()
            }


def test_a_tensor_that_outlives_a_cut_is_handed_over_once() -> None:
    member, places, _ = measured("two cells")
    wide = [place for place in places if place.width == 2]
    shared = next((one, two) for one, two in itertools.pairwise(wide) if set(one.tensors) & set(two.tensors))
    parts = split(member, [make_cut(member, item, member.classes, (1,)) for item in shared])
    names = [tensor.name for piece in parts.pieces for tensor in piece.outputs]
    assert len(names) == len(set(names))
    assert {tensor.name for tensor in parts.pieces[2].inputs} <= {*names, "IMAGE"}


def test_splitting_leaves_the_member_as_it_was() -> None:
    member, places, _ = measured("residual")
    before = [(node.op_type, node.name, [value.name for value in node.outputs]) for node in member.model.graph]
    split(member, [make_cut(member, places[3], member.classes, (4,))])
    assert [(n.op_type, n.name, [value.name for value in n.outputs]) for n in member.model.graph] == before


def test_a_changed_segment_is_found_and_named(tmp_path: Path) -> None:
    member, places, rows = measured("residual")
    parts = split(member, [make_cut(member, places[item], member.classes, (1,)) for item in (2, 8, 12)])
    weight = next(iter(parts.pieces[1].model.graph.initializers.values()))
    weight.const_value = ir.tensor(np.full([int(item) for item in weight.shape or ()], 0.5, np.float32))
    chain, reference = opened(parts, tmp_path)
    with pytest.raises(ServingError, match=r"member m, segment 2 of 4, CUT2_., batch 1: differs"):
        verify(chain, reference, rows)
