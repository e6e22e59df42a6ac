from __future__ import annotations

import numpy as np
import pytest

from benchmarks.glyph_images import CLASSES, MERGED, SYMBOLS, glyphs

pytest.importorskip("matplotlib", reason="pip install 'exeunt[plot]'")


def test_glyphs_have_36_classes_and_lookalikes_share_one() -> None:
    assert len(CLASSES) == 36 and len(SYMBOLS) == 38
    assert all(symbol not in CLASSES and twin in CLASSES for symbol, twin in MERGED.items())


def test_glyphs_repeat_with_their_seed_and_only_then() -> None:
    one, same, other = (glyphs(20, seed, 0.5) for seed in (1, 1, 2))
    assert np.array_equal(one.images, same.images) and np.array_equal(one.labels, same.labels)
    assert not np.array_equal(one.images, other.images)


def test_easy_glyphs_are_ink_on_a_clean_ground() -> None:
    images = glyphs(200, 0, 0.0).images
    assert images.shape == (200, 1, 32, 32) and images.dtype == np.float32
    assert np.abs(images[:, :, 0]).max() < 0.2  # the border
    assert images.reshape(200, -1).max(axis=1).min() > 0.5


def test_difficulty_is_each_rows_own() -> None:
    images = glyphs(400, 0, np.repeat([0.0, 1.0], 200)).images
    spread = images[:, 0, :3].std(axis=(1, 2))
    assert spread[:200].max() < spread[200:].min()
