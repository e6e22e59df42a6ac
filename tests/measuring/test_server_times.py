from __future__ import annotations

from exeunt.measuring.server_times import ModelTimes, parse_times, spent


def stats(name: str, requests: int, infer_ns: int) -> dict[str, object]:
    return {
        "name": name,
        "execution_count": str(requests),
        "inference_stats": {
            "success": {"count": str(requests), "ns": str(3 * infer_ns)},
            "compute_infer": {"count": str(requests), "ns": str(infer_ns)},
        },
    }


def test_numbers_that_grpc_tells_as_text_or_leaves_out_are_read() -> None:
    assert parse_times({"model_stats": [stats("m", 2, 5000)]}) == {"m": ModelTimes(2, 2, 15.0, 0.0, 0.0, 5.0)}


def test_versions_of_a_model_are_added_up() -> None:
    assert parse_times({"model_stats": [stats("m", 2, 5000), stats("m", 1, 1000)]})["m"].infer_us == 6.0


def test_only_what_was_done_in_between_is_told() -> None:
    before = parse_times({"model_stats": [stats("m", 2, 5000), stats("idle", 7, 100)]})
    after = parse_times({"model_stats": [stats("m", 5, 9000), stats("idle", 7, 100), stats("new", 1, 1000)]})
    differences = spent(before, after)
    assert sorted(differences) == ["m", "new"]
    assert (differences["m"].requests, differences["m"].infer_us) == (3, 4.0)
