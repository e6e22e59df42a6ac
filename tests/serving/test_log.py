from exeunt.serving.server_log import error_lines

LOG = """\
W1121 10:00:00.000000 7 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"
E1121 10:00:00.100000 7 cuda_driver_helper.cc:98] "CudaDriverHelper has not been initialized."
I1121 10:00:00.200000 7 model_lifecycle.cc:472] "loading: s1:1"
E1121 10:00:01.000000 7 model_lifecycle.cc:642] "failed to load 's1' version 1: Internal: ConfigError: wrong dims

At:
  /backends/onnxruntime/model.py(27): initialize
"
I1121 10:00:01.100000 7 server.cc:674]
| s1    | 1       | UNAVAILABLE: Internal: ConfigError: wrong dims |
error: creating server: Internal - failed to load all models
"""


def test_error_lines_come_with_what_follows_them_and_without_noise(tmp_path):
    log = tmp_path / "log"
    log.write_text(LOG)
    lines = error_lines(log)
    assert lines[0] == "failed to load 's1' version 1: Internal: ConfigError: wrong dims"
    assert lines[-1] == "error: creating server: Internal - failed to load all models"
    assert not any("Cuda" in line or "pinned" in line or line.startswith("|") for line in lines)


def test_without_error_lines_the_table_of_models_tells(tmp_path):
    log = tmp_path / "log"
    log.write_text("I1121 10:00:00.2 7 x] y\n| s1    | 1       | UNAVAILABLE: Internal: it broke |\n")
    assert error_lines(log) == ["s1 | 1 | UNAVAILABLE: Internal: it broke"]


def test_a_log_without_errors_gives_its_end(tmp_path):
    log = tmp_path / "log"
    log.write_text("\n".join(map(str, range(9))))
    assert error_lines(log) == ["4", "5", "6", "7", "8"]


def test_a_missing_log_gives_nothing(tmp_path):
    assert error_lines(tmp_path / "log") == []


def test_an_abort_that_triton_does_not_explain_is_explained(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "terminate called after throwing an instance of 'boost::interprocess::lock_exception'\n"
        "  what():  boost::interprocess::lock_exception\n"  # Triton 24.10 with a stub that was stopped while it started
    )
    assert "does not run for a second" in error_lines(log)[-1]
