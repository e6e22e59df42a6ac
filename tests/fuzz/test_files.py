"""Damaged files: only our own errors come out of reading them back."""

import pytest

from tests.fuzz.files import KINDS, fuzz

pytest.importorskip("pyarrow")


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_only_our_own_errors_come_out_of_a_damaged_file(kind, tmp_path):
    outcomes = fuzz(kind, 300, tmp_path / "files")
    assert outcomes["refused"] > 0
