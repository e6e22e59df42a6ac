from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.demo import data

pytest.importorskip("sklearn", reason="pip install 'exeunt[demo]'")


@given(st.integers(3, 3000), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_every_image_is_in_exactly_one_part(images: int, seed: int) -> None:
    parts = data.split(images, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(images))


def test_no_image_of_one_part_is_in_another() -> None:
    parts = data.digits(seed=0)
    contents = [{image.tobytes() for image in part.images} for part in (parts.train, parts.calibration, parts.test)]
    assert not contents[0] & contents[1] and not contents[0] & contents[2] and not contents[1] & contents[2]


def test_digits_are_real_images_at_32_px() -> None:
    parts = data.digits(seed=0)
    assert len(parts.train) + len(parts.calibration) + len(parts.test) == 1797
    assert parts.test.images.shape[1:] == (1, 32, 32) and parts.test.images.dtype == np.float32
    assert parts.test.images.min() >= 0 and parts.test.images.max() <= 1


def test_a_flat_image_stays_flat_when_enlarged() -> None:
    assert np.allclose(data.upscale(np.full((2, 8, 8), 0.25, dtype=np.float32)), 0.25)


def test_noise_drifts_through_its_levels() -> None:
    noise = data.drifting_noise(401)
    assert noise[::100] == pytest.approx(data.DRIFT)


def test_a_stream_repeats_with_its_seed_and_only_then() -> None:
    part = data.digits(seed=0).test
    one, same, other = (data.drifting_stream(part, 50, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.images, same.images) and not np.array_equal(one.images, other.images)


def test_a_stream_shows_every_image_before_it_shows_one_again() -> None:
    part = data.DigitsPart(np.zeros((7, 1, 32, 32), dtype=np.float32), np.arange(7))
    labels = data.drifting_stream(part, 17, seed=0).labels
    assert sorted(labels[:7].tolist()) == sorted(labels[7:14].tolist()) == list(range(7))


def test_samples_hold_each_image_equally_often() -> None:
    images = np.broadcast_to(np.arange(5, dtype=np.float32)[:, None, None, None], (5, 1, 32, 32))
    means = data.samples(data.DigitsPart(images, np.arange(5)), copies=3, seed=0).mean(axis=(1, 2, 3))
    assert sorted(means.round().astype(int).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_a_bootstrap_sample_leaves_about_a_third_out() -> None:
    part = data.DigitsPart(np.zeros((1000, 1, 1, 1), dtype=np.float32), np.arange(1000))
    drawn = data.bootstrap(part, seed=0).labels
    assert len(drawn) == 1000
    assert len(set(drawn.tolist())) == pytest.approx(632, abs=30)
