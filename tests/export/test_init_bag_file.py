"""From files on disk to a bag: `exeunt init`, `exeunt export --member`, images and tables as samples."""

import json
import tomllib

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import numpy_helper
from PIL import Image
from pyarrow import parquet

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt_export.bagfile import samples as sampling
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.bagfile.pictures import ImageInput, load_images
from exeunt_export.export_progress import Stages
from exeunt_export.planning.opening import open_bag
from tests.export.graphs import Net, noise_rows, residual_net
from tests.export.readers.test_silent_faults import ROWS, base, make


def photo_net(path, side=16, channels=3, seed=0):
    net = Net(seed, ("rows", channels, side, side))
    x = net.pool(net.conv(net.conv(net.input, channels, 8), 8, 8))
    return net.save(path, net.logits(x, 8, 5, side // 2))


def photographs(folder, count=60):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, size=(24, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def opened(path):
    return open_bag(BagFile.read(path), None, Stages(lambda stage, steps, total: None))


def test_init_writes_a_bag_file_that_opens(tmp_path):
    base(tmp_path / "first.onnx"), base(tmp_path / "second.onnx", seed=1)
    np.save(tmp_path / "x.npy", ROWS)
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "x.npy")]) == 0
    assert [measured.member.name for measured in opened(tmp_path / "bag.toml").members] == ["first", "second"]


def test_every_key_that_init_leaves_out_is_there_as_a_comment_with_its_default(tmp_path):
    base(tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", ROWS)
    main(["init", str(tmp_path), "--samples", str(tmp_path / "x.npy")])
    text = (tmp_path / "bag.toml").read_text(encoding="utf-8")
    lines = [line if line.startswith("# ") else line.removeprefix("#") for line in text.splitlines()]
    full = tomllib.loads("\n".join(lines))
    assert full["cuts"]["ramp_budget"] == 0.02
    assert full["exit"]["max_loss"] == 0.01
    assert full["member"][0]["weight"] == 1.0
    assert {"vote", "schedule", "seed", "inputs", "quantize"} <= full.keys()


def test_init_leaves_out_what_is_no_classifier_of_the_samples_and_says_why(tmp_path, capsys):
    base(tmp_path / "good.onnx"), residual_net(tmp_path / "pictures.onnx")
    np.save(tmp_path / "x.npy", ROWS)
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "x.npy")]) == 0
    assert "left out: " in capsys.readouterr().err
    assert [member.name for member in BagFile.read(tmp_path / "bag.toml").members] == ["good"]


def test_init_replaces_nothing_unasked(tmp_path, capsys):
    base(tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "bag.toml").write_text("mine", encoding="utf-8")
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "x.npy")]) == 78
    assert (tmp_path / "bag.toml").read_text(encoding="utf-8") == "mine"


def test_export_takes_members_without_a_bag_file(tmp_path, capsys):
    files = [str(base(tmp_path / f"{name}.onnx", seed=seed)) for seed, name in enumerate("ab")]
    np.save(tmp_path / "x.npy", ROWS)
    line = ["export", "--member", files[0], "--member", files[1], "--samples", str(tmp_path / "x.npy"), "--json"]
    assert main([*line, "-o", str(tmp_path / "repository")]) == 0
    manifest = json.loads((tmp_path / "repository" / "bag_exit" / "1" / "manifest.json").read_text(encoding="utf-8"))
    assert [member["name"] for member in manifest["members"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["export"], "nothing to export"),
        (["export", "--member", "a.onnx"], "--samples is missing"),
        (["export", "bag.toml", "--member", "a.onnx"], "members of a bag file stand in it"),
        (["init", "."], None),
    ],
)
def test_what_is_missing_on_the_command_line_is_said(line, message, capsys):
    if message is None:
        with pytest.raises(SystemExit):
            main(line)
    else:
        assert main(line) == 78
        assert message in capsys.readouterr().err


def test_images_become_rows_of_the_members_size(tmp_path):
    photo_net(tmp_path / "m.onnx")
    photographs(tmp_path / "photos")
    line = ["init", str(tmp_path), "--samples", str(tmp_path / "photos"), "--normalise", "imagenet"]
    assert main(line) == 0
    assert opened(tmp_path / "bag.toml").samples["IMAGE"].shape == (60, 3, 16, 16)


def test_members_of_other_sizes_get_images_of_their_own(tmp_path):
    photo_net(tmp_path / "large.onnx", 32), photo_net(tmp_path / "small.onnx", 16, seed=1)
    photographs(tmp_path / "photos")
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "photos"), "--normalise", "unit"]) == 0
    samples = opened(tmp_path / "bag.toml").samples
    assert sorted(array.shape[1:] for array in samples.values()) == [(3, 16, 16), (3, 32, 32)]


def test_a_normalisation_that_nothing_tells_is_asked_for(tmp_path, capsys):
    photo_net(tmp_path / "m.onnx")
    photographs(tmp_path / "photos", 1)
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "photos")]) == 78
    assert "--normalise none or unit or signed or imagenet" in capsys.readouterr().err


def test_a_normalisation_is_read_from_the_configuration_beside_the_file(tmp_path):
    photo_net(tmp_path / "m.onnx")
    photographs(tmp_path / "photos", 1)
    table = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "rescale_factor": 0.01}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(table), encoding="utf-8")
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "photos")]) == 0
    image = BagFile.read(tmp_path / "bag.toml").images["IMAGE"]
    assert (image.scale, image.mean, image.std) == (0.01, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_a_member_that_scales_pixels_itself_takes_them_as_they_are(tmp_path):
    net = Net(0, ("rows", 3, 16, 16))
    scaled = net.node("Mul", net.input, net.constant(np.float32(1 / 255)))
    net.save(tmp_path / "m.onnx", net.logits(net.conv(scaled, 3, 4), 4, 5, 16))
    photographs(tmp_path / "photos", 1)
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "photos")]) == 0
    assert BagFile.read(tmp_path / "bag.toml").images["IMAGE"].normalise == "none"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (ImageInput(size=(2, 2), normalise="unit"), [1.0, 0.5, 0.0]),
        (ImageInput(size=(2, 2), normalise="signed", channels="bgr"), [-1.0, 0.0, 1.0]),
        (ImageInput(size=(2, 2), normalise="none"), [255.0, 127.5, 0.0]),
        (ImageInput(size=(2, 2), scale=1 / 255, mean=(0.5,), std=(0.5,)), [1.0, 0.0, -1.0]),
    ],
)
def test_pixels_are_scaled_as_the_table_says(tmp_path, image, expected):
    Image.new("RGB", (8, 8), (255, 127, 0)).save(tmp_path / "one.png")
    (row,) = load_images(tmp_path, {"x": image}, "samples")["x"]
    np.testing.assert_allclose(row[:, 0, 0], expected, atol=0.6 if image.normalise == "none" else 0.01)


def test_whole_numbers_channels_last_and_transparent_images(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "one.png")
    image = ImageInput(size=(4, 6), layout="NHWC", dtype="uint8", normalise="none")
    images = load_images(tmp_path, {"x": image}, "samples")["x"]
    assert images.dtype == np.uint8
    assert (images == 255).all() and images.shape == (1, 4, 6, 3)  # white behind what is transparent


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"broken\.png: no image that can be decoded"):
        load_images(tmp_path, {"x": ImageInput(size=(4, 4))}, "samples")


def test_a_folder_without_images_or_tables_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no images; allowed: \.bmp"):
        sampling.load(tmp_path, "samples", (), {"x": ImageInput(size=(4, 4))})
    with pytest.raises(ConfigError, match=r"no \[images.INPUT\] table"):
        sampling.load(tmp_path, "samples")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_a_table_are_one_input(tmp_path, suffix):
    table = pa.table({f"c{number}": ROWS[:, number] for number in range(16)})
    path = tmp_path / f"x.{suffix}"
    if suffix == "csv":
        lines = [",".join(table.column_names), *(",".join(map(repr, row.tolist())) for row in ROWS)]
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        parquet.write_table(table, path)
    base(tmp_path / "m.onnx")
    assert main(["init", str(tmp_path), "--samples", str(path)]) == 0
    np.testing.assert_allclose(opened(tmp_path / "bag.toml").samples["x"], ROWS, rtol=1e-6)


def columns_net(path):
    """Two columns as inputs of their own, as skl2onnx writes it."""
    nodes = [make.make_node("Concat", ["age", "size"], ["x"], axis=1), make.make_node("MatMul", ["x", "w"], ["y"])]
    columns = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 1]) for name in ("age", "size")]
    ends = [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])]
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32), "w")
    graph = make.make_graph(nodes, "columns", columns, ends, [weight])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), path)


def test_each_input_is_the_column_of_its_name(tmp_path):
    columns_net(tmp_path / "m.onnx")
    lines = ["size,age,unused", *(f"{number / 2},{number},7" for number in range(60))]
    (tmp_path / "x.csv").write_text("\n".join(lines), encoding="utf-8")
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "x.csv")]) == 0
    samples = opened(tmp_path / "bag.toml").samples
    np.testing.assert_array_equal(samples["age"], np.arange(60, dtype=np.float32)[:, None])


def test_a_column_of_text_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("age,city\n1,Graz\n2,Linz\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"x\.csv: column 'city' holds string; allowed: numbers"):
        sampling.load(tmp_path / "x.csv", "samples")


def test_noise_rows_are_no_images(tmp_path):
    residual_net(tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", noise_rows(60, 0))
    assert main(["init", str(tmp_path), "--samples", str(tmp_path / "x.npy")]) == 0
    assert BagFile.read(tmp_path / "bag.toml").images == {}
