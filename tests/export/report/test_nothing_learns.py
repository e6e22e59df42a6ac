"""Who asks for ramps that learn is told where there is none to learn."""

import pytest

from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag


@pytest.mark.parametrize(("cuts", "expected"), [("exits = 2", False), ("exits = 0", True)])
def test_where_no_exit_votes_by_a_ramp_the_export_says_that_nothing_will_learn(tmp_path, cuts, expected):
    bag = tiny_bag(tmp_path, members=2, exit_table="learn_ramps = true", cuts=cuts)
    assert any("nothing will learn" in line for line in export_bag(bag, tmp_path / "repository").warnings) is expected
