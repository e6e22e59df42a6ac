"""The digits bag's file."""

from __future__ import annotations

from pathlib import Path

from exeunt.demo.bag import write_bag_file
from exeunt_export.bagfile.bagfile import BagFile


def test_the_demos_bag_file_is_one_that_export_reads(tmp_path: Path) -> None:
    write_bag_file(["plain", "mobile"], tmp_path / "BAG.toml", "digits", "engine", baseline=False)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    bag = BagFile.read(tmp_path / "BAG.toml")
    assert [member.name for member in bag.members] == ["plain", "mobile"]
    assert (bag.mode, bag.serving.baseline) == ("engine", False)
