"""The one reader of a repository."""

import itertools
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt.serving.bags import bag_names, bag_of, served_bags, some_bags
from exeunt.serving.checks.response_cache import refuse_response_caches
from exeunt.serving.container import command, options
from exeunt.serving.pbtxt import parse
from exeunt.serving.pip_server import serve
from exeunt.serving.repository import model_folders


@pytest.fixture
def repository(tiny_exported, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(tiny_exported, tmp_path / "repository")


def override(repository, text):
    config = repository / "tiny_exit" / "config.pbtxt"
    config.write_text(config.read_text() + text)


def test_what_config_pbtxt_overrides_rules(repository):
    override(repository, 'parameters { key: "max_tickets" value { string_value: "48" } }\n')
    (bag,) = served_bags(repository)
    assert bag.settings.max_tickets == bag.manifest.settings.max_tickets == 48


def test_the_containers_thread_pool_follows_what_config_pbtxt_overrides(repository):
    override(repository, 'parameters { key: "max_tickets" value { string_value: "480" } }\n')
    line = command(options([f"--repository={repository}"]), some_bags(repository), "name")
    assert next(int(word.rsplit("=", 1)[1]) for word in line if "thread-pool-size" in word) > 480


def test_a_bag_is_found_by_its_name_or_as_the_only_one(repository):
    assert bag_names(repository) == ["tiny"]
    assert bag_of(repository).manifest.bag == bag_of(repository, "tiny").manifest.bag == "tiny"
    with pytest.raises(ConfigError, match="bag 'other'; allowed: tiny"):
        bag_of(repository, "other")


def test_every_config_of_an_export_is_read_as_protobuf_reads_it(repository):
    for path in repository.glob("*/config.pbtxt"):
        message = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        ours, theirs = parse(path.read_text(), path), MessageToDict(message, preserving_proto_field_name=True)
        assert set(ours) == set(theirs)
        table = {entry["key"][0]: entry["value"][0]["string_value"][0] for entry in ours.get("parameters", [])}
        assert table == {key: value.string_value for key, value in message.parameters.items()}


@pytest.mark.parametrize("text", ["a {", "a: }", '"a": 1', "a: 'x", "a ] 1", "\x00", "a: [1", "}"])
def test_what_is_not_the_text_format_is_refused_by_file_and_line(tmp_path, text):
    with pytest.raises(ConfigError, match="line 2"):
        parse("ok: 1\n" + text, tmp_path / "config.pbtxt")


NOBODY = 65534


@pytest.fixture
def as_nobody(tiny_exported):
    """A readable copy, and every look at it by a user who owns nothing; root itself may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copied = Path(shutil.copytree(tiny_exported, Path(folder) / "repository"))
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        try:
            yield copied
        finally:
            if os.getuid() == 0:
                os.seteuid(0)


def close(folder):
    """Nobody but root may look into the folder."""
    effective = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    folder.chmod(0)
    if os.getuid() == 0:
        os.seteuid(effective)


@pytest.mark.parametrize(
    ("look", "closed"),
    [
        *itertools.product([bag_names, served_bags, refuse_response_caches], ["", "tiny_exit", "tiny_exit/1"]),
        *itertools.product([model_folders], ["", "tiny_exit"]),
    ],
)
def test_a_repository_that_may_not_be_read_is_not_one_without_bags(as_nobody, look, closed):
    close(as_nobody / closed)
    with pytest.raises(ConfigError, match="cannot be read by this user"):
        look(as_nobody)


CACHE = "response_cache { enable: true }\n"


@pytest.mark.parametrize("spelling", ["0x1", "01", "yes"])
def test_what_no_reader_of_ours_takes_for_false_is_one_too(repository, spelling):
    config = repository / "tiny" / "config.pbtxt"
    config.write_text(config.read_text() + CACHE.replace("true", spelling))
    with pytest.raises(ConfigError, match="response_cache"):
        refuse_response_caches(repository)


@pytest.mark.parametrize("spelling", ["true", "True", "t", "1", "false", "False", "f", "0"])
def test_whatever_protobuf_takes_for_true_is_a_response_cache(repository, spelling):
    config = repository / "tiny" / "config.pbtxt"
    config.write_text(config.read_text() + CACHE.replace("true", spelling))
    on = text_format.Parse(config.read_text(), model_config_pb2.ModelConfig()).response_cache.enable
    if not on:
        refuse_response_caches(repository)
        return
    with pytest.raises(ConfigError, match="response_cache"):
        refuse_response_caches(repository)


@pytest.mark.parametrize("model", ["tiny", "tiny_exit", "tiny_bag"])
def test_a_response_cache_is_refused_by_check_and_by_every_server(repository, model, capsys):
    config = repository / model / "config.pbtxt"
    config.write_text(config.read_text() + CACHE)
    with pytest.raises(ConfigError, match="response_cache"):
        refuse_response_caches(repository)
    assert main(["check", str(repository)]) != 0
    assert "response_cache" in "".join(capsys.readouterr())
    with pytest.raises(ConfigError, match="response_cache"), serve(repository):
        pass


def test_a_response_cache_that_is_off_is_nobodys_business(repository):
    config = repository / "tiny" / "config.pbtxt"
    config.write_text(config.read_text() + CACHE.replace("true", "false"))
    refuse_response_caches(repository)
