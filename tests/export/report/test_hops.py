"""Small bags in ensemble mode are told that they had better be served by the engine."""

import pytest

from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag


def warned(tmp_path, mode, kind="cpu"):
    bag = tiny_bag(tmp_path, mode=mode)
    bag.write_text(bag.read_text().replace("[serving]", f'[serving]\nkind = "{kind}"'))
    return any("slower than without exits" in line for line in export_bag(bag, tmp_path / "repository").warnings)


@pytest.mark.parametrize(
    ("mode", "kind", "expected"), [("ensemble", "cpu", True), ("engine", "cpu", False), ("ensemble", "gpu", False)]
)
def test_a_small_bag_is_told_of_the_hops_where_they_are(tmp_path, mode, kind, expected):
    assert warned(tmp_path, mode, kind) is expected
