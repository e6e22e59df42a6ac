"""An exported bag in engine mode, without a server: the same answers as the members computed offline."""

import numpy as np
import onnxruntime
import pytest

from exeunt.contract import PROBABILITIES, features_name, votes_name
from exeunt.deciding import votes
from exeunt.deciding.votes import margin
from exeunt_export.export_bag import export_bag
from tests.engine.desk import Desk
from tests.export.graphs import noise_rows
from tests.export.tiny import SIDE, tiny_bag

TOLERANCE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture(scope="module", params=["parallel", "auto"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    bag = tiny_bag(folder, mode="engine", schedule=request.param)
    report = export_bag(bag, folder / "repository")
    return report.manifest, folder / "repository" / "tiny_exit" / "1"


def run(file, tensors):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [input_.name for input_ in session.get_inputs()]
    return dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {n: tensors[n] for n in names}), strict=True)
    )


def chain(manifest, folder, x):
    """The vote at every exit, segment by segment."""
    features, final = {}, {}
    for member in manifest.members:
        tensors = {"IMAGE": x}
        for depth, segment in enumerate(member.segments, 1):
            tensors |= run(folder / f"{segment.model}.onnx", tensors)
            if segment.features is not None:
                features[features_name(member.name, depth)] = tensors[segment.features.name]
        final[member.name] = tensors[PROBABILITIES]
    at_exits = []
    for number, exit_ in enumerate(manifest.exits):
        head_votes = run(folder / f"{exit_.heads}.onnx", features) if exit_.heads else {}
        voting = [(m, d) for m, d in zip(manifest.members, exit_.depths, strict=True) if d]
        items = [final[m.name] if d == m.depth else head_votes[votes_name(m.name, d)] for m, d in voting]
        at_exits.append(votes.vote(items, manifest.exit_weights(number), manifest.vote))
    return at_exits


def whole(manifest, folder, x):
    """The full vote of the unsplit members."""
    root = folder.parent.parent
    items = [run(root / member.model / "1" / "model.onnx", {"IMAGE": x})[PROBABILITIES] for member in manifest.members]
    return votes.vote(items, [member.weight for member in manifest.members], manifest.vote)


def test_with_all_exits_off_the_answer_is_the_vote_of_the_unsplit_members(exported):
    manifest, folder = exported
    with Desk(manifest, folder, [0.0] * len(manifest.exits)) as desk:
        x = noise_rows(5, 3, SIDE)
        desk.ask("a", x)
        answer = desk.answers(1)["a"].answer
    np.testing.assert_allclose(answer.probabilities, whole(manifest, folder, x), **TOLERANCE)


def test_every_answer_is_the_vote_of_its_exit_in_any_merge(exported):
    manifest, folder = exported
    x = noise_rows(64, 4, SIDE)
    at_exits = chain(manifest, folder, x)
    thresholds = [float(np.median(1.0 - margin(vote))) for vote in at_exits[:-1]]
    with Desk(manifest, folder, [*thresholds, 0.0]) as desk:
        sizes = np.tile([1, 2, 5], 8)
        first = np.concatenate([[0], np.cumsum(sizes)])
        for key, (start, rows) in enumerate(zip(first[:-1], sizes, strict=True)):
            desk.ask(key, x[start : start + rows])
        replies = desk.answers(len(sizes))
    used = set()
    for key, (start, rows) in enumerate(zip(first[:-1], sizes, strict=True)):
        answer = replies[key].answer
        expected = [at_exits[exit_][start + row] for row, exit_ in zip(range(rows), answer.exit, strict=True)]
        np.testing.assert_allclose(answer.probabilities, np.stack(expected), **TOLERANCE)
        used |= set(answer.exit.tolist())
    assert len(used) >= 3


def test_what_finished_rows_teach_is_what_the_chain_says(exported):
    manifest, folder = exported
    x = noise_rows(16, 5, SIDE)
    thresholds = [2.0] + [0.0] * (len(manifest.exits) - 1)
    with Desk(manifest, folder, thresholds, workers=1) as desk:  # one worker: no exit is overtaken by the full vote
        desk.ask("a", x)
        desk.answers(1)
        assert desk.host.drain(20)
    (feedback,) = desk.tuner.learnt
    for exit_, vote in enumerate(chain(manifest, folder, x)):
        np.testing.assert_allclose(feedback.confidence[:, exit_], margin(vote), **TOLERANCE)
        two = np.sort(vote, axis=1)[:, -2:]
        clear = two[:, 1] - two[:, 0] > 1e-4  # between nearly equal classes rounding may decide
        np.testing.assert_array_equal(feedback.labels[clear, exit_], votes.labels(vote)[clear])
