import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exeunt.errors import ConfigError
from exeunt.serving.launch import HOST, Ports, check_shared_memory, choose_ports, command


def test_too_little_shared_memory_is_refused_before_the_start(tmp_path):
    check_shared_memory(1, tmp_path)
    with pytest.raises(ConfigError, match="--shm-size=1g"):
        check_shared_memory(2**40, tmp_path)


def test_free_ports_differ():
    ports = choose_ports(None, None, None)
    assert len({ports.http, ports.grpc, ports.metrics}) == 3


def test_given_ports_are_kept():
    free = choose_ports(None, None, None).http
    assert choose_ports(None, free, None).grpc == free


def test_a_taken_port_is_refused_by_its_option():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--grpc-port = {port}"):
            choose_ports(None, port, None)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(ConfigError, match=f"--http-port = {port}"):
        choose_ports(port, None, None)


def test_one_port_for_two_services_is_refused():
    free = choose_ports(None, None, None).http
    with pytest.raises(ConfigError, match="ports that differ"):
        choose_ports(free, free, None)


@pytest.mark.parametrize(
    ("slots", "flags"), [(0, []), (2, ["--rate-limit=execution_count", "--rate-limit-resource=slot:2"])]
)
def test_ranked_segments_get_their_slots_only_if_asked_for(slots, flags):
    paths = {"repository": Path("r"), "backends": Path("b")}
    line = command(Path("t"), name="n", ports=Ports(1, 2, 3), max_tickets=1, rate_slots=slots, **paths)
    assert [item for item in line if "rate-limit" in item] == flags


def test_nothing_is_imported_before_the_servers_start_that_only_its_watch_or_an_error_needs():
    code = (
        "import sys, exeunt.serving.container; print(*({'numpy', 'http.client', 'difflib', 'shutil'} & {*sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


def test_a_probe_needs_no_numpy():
    code = "import sys, exeunt.serving.probe; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
