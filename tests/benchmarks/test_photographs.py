"""The streams of photographs: what is shared, what is changed. Random pictures stand for the photographs."""

from __future__ import annotations

import numpy as np

from benchmarks.serving.photographs import SIDE_PX, crops, drifting, split


def pictures(number: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, 300, 200), dtype=np.uint8) for _ in range(number)]


def test_samples_and_stream_share_no_photograph() -> None:
    photographs = pictures(10)
    samples, stream = split(photographs)
    assert {id(picture) for picture in samples}.isdisjoint(id(picture) for picture in stream)
    assert len(samples) + len(stream) == len(photographs)


def test_a_crop_without_difficulty_is_neither_darker_nor_noisier() -> None:
    flat = [np.full((3, 300, 200), 90, dtype=np.uint8)]
    assert (crops(flat, np.zeros(4), seed=0) == 90).all()


def test_a_difficult_crop_is_changed() -> None:
    flat = [np.full((3, 300, 200), 90, dtype=np.uint8)]
    assert (crops(flat, np.ones(4), seed=0) != 90).any()


def test_a_stream_shows_every_photograph_before_it_shows_one_again() -> None:
    flat = [np.full((3, 200, 200), 20 * number, dtype=np.uint8) for number in range(5)]
    shades = crops(flat, np.zeros(5), seed=3)[:, 0, 0, 0]
    assert sorted(shades.tolist()) == [0, 20, 40, 60, 80]


def test_a_stream_repeats_with_its_seed() -> None:
    one, same = (drifting(pictures(3), 6, seed=2) for _ in range(2))
    assert one.inputs.shape == (6, 3, SIDE_PX, SIDE_PX) and np.array_equal(one.inputs, same.inputs)
    assert one.difficulty.min() < one.difficulty.max()
