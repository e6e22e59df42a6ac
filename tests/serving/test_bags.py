"""The one reader of a repository."""

import shutil

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt.serving.bags import bag_names, bag_of, refuse_response_caches, served_bags, some_bags
from exeunt.serving.container import command, options
from exeunt.serving.pbtxt import parse
from exeunt.serving.pip_server import serve


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


CACHE = "response_cache { enable: true }\n"


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
