import json

import pytest

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt.serving.checks.repository import check_repository
from tests.serving.repository import tiny_repository


@pytest.fixture
def repository(tmp_path):
    return tiny_repository(tmp_path / "repository")


def spoil(repository, model, was, becomes):
    path = repository / model / "config.pbtxt"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes, 1))


def problems(repository):
    return [str(problem) for problem in check_repository(repository).problems]


def test_a_sound_repository_has_no_problems(hand_made):
    assert check_repository(hand_made).problems == ()


@pytest.mark.parametrize(
    ("model", "was", "becomes", "message"),
    [
        ("s1", "max_batch_size", "max_batch", 'no field named "max_batch"'),
        ("s1", "dims: [ 5 ]", "dims: [ 6 ]", "output 'cut': has dims [-1, 6] with the batch in front"),
        ("s1", "backend:", 'name: "s2" backend:', "name = 's2'"),
        ("s2", "max_batch_size: 8", "max_batch_size: 4", "step 1 (s2): takes batches of 4, the ensemble of 8"),
        ("member", 'model_name: "s2"', 'model_name: "s3"', "calls model 's3', which is not in the repository"),
        ("member", 'value: "cut"', 'value: "IMAGE"', "makes tensor 'IMAGE', which its own input makes too"),
        ("member", 'key: "cut" value: "cut"', 'key: "cuts" value: "cut"', "maps output 'cuts', which the model does"),
        ("member", 'key: "cut" value: "cut" }} o', 'key: "cut" value: "x" }} o', "reads tensor 'x', which nothing"),
        ("member", 'value: "PROBABILITIES"', 'value: "P"', "output 'PROBABILITIES': is made by no step"),
        ("member", 'value: "PROBABILITIES"', 'value: "P"', "tensor 'P': of step 1 (s2) is used by nobody"),
        (
            "member",
            "dims: [ 3 ]",
            "dims: [ 4 ]",
            "output 'PROBABILITIES': has dims [4], tensor",
        ),
        ("member", "FP32", "FP64", "input 'IMAGE': is TYPE_FP32, tensor 'IMAGE' is TYPE_FP64"),
    ],
)
def test_a_fault_is_named_by_file_and_key_with_a_cure(repository, model, was, becomes, message):
    spoil(repository, model, was.replace("}}", "}"), becomes.replace("}}", "}"))
    complaints = [problem for problem in problems(repository) if message in problem]
    assert complaints, problems(repository)
    assert complaints[0].split(":")[0].split("/")[0] in (model, "member")
    assert "export the bag again" in complaints[0]


def test_steps_that_wait_for_each_other_are_found(repository):
    spoil(repository, "member", 'key: "IMAGE" value: "IMAGE"', 'key: "IMAGE" value: "PROBABILITIES"')
    assert any("waits, through other steps, for itself" in problem for problem in problems(repository))


def test_a_missing_onnx_file_is_found(repository):
    (repository / "s1" / "1" / "model.onnx").unlink()
    assert any(problem.startswith("s1/1/model.onnx: cannot be loaded") for problem in problems(repository))


def test_all_faults_are_listed_not_only_the_first(repository):
    spoil(repository, "s1", "dims: [ 5 ]", "dims: [ 6 ]")
    spoil(repository, "look", "TYPE_INT64", "TYPE_INT32")
    complaints = problems(repository)
    assert {problem.split("/")[0] for problem in complaints} >= {"s1", "look", "member"}


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no model"):
        check_repository(tmp_path)


def test_the_verb_lists_problems_and_fails(repository, capsys):
    spoil(repository, "s1", "dims: [ 5 ]", "dims: [ 6 ]")
    assert main(["check", str(repository), "--json"]) == 78
    table = json.loads(capsys.readouterr().out)
    assert table["models"] == ["look", "member", "s1", "s2", "vote"]
    assert table["problems"][0].keys() == {"file", "key", "what", "cure"}


def test_the_verb_is_content_with_a_sound_repository(hand_made, capsys):
    assert main(["check", str(hand_made)]) == 0
    assert "5 models, no bag: all sound" in capsys.readouterr().out
