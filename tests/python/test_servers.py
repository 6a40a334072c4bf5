"""The test servers themselves: they start, obey, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import servers
from server_harness.nodes import end_all, free_ports, spawn, wait_for
from server_harness.resp import Client

COMMAND = [sys.executable, servers.__file__, "run"]


def gone(pid):
    """Whether no process has this id (one that is only waiting to be reaped counts as gone)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


@pytest.mark.parametrize("server", ["redis", "valkey"])
@pytest.mark.parametrize("topology", servers.TOPOLOGIES)
def test_every_topology_starts_describes_itself_and_ends(topology, server):
    with servers.start(topology, server=server) as running:
        assert running.call("PING") == b"PONG"
        assert running.url == running.urls["main"]
        assert running.server == server
        assert all(port < 22000 for port in running.ports)
        pids, folder = running.pids, running.dir
        assert len(pids) == len(set(pids)) == len(running.nodes)
    assert all(gone(pid) for pid in pids)
    assert not Path(folder).exists()


def test_verbs_drive_a_single_server():
    with servers.start("single") as s:
        port, pid = s.port, s.pids[0]
        s.call("SET", "k", b"\x00\xff")
        assert s.call("GET", "k") == b"\x00\xff"
        s.kill()
        assert gone(pid) and s.pids == []
        s.restart()
        assert s.port == port and s.pids[0] != pid
        assert s.call("GET", "k") is None
        s.pause()
        assert s.nodes[0]["paused"]
        s.resume()
        assert s.call("PING") == b"PONG"
        with pytest.raises(servers.ServerError, match="no node"):
            s.kill("nobody")


@pytest.mark.parametrize("topology", ["cluster", "sentinel"])
def test_failover_moves_the_primary(topology):
    with servers.start(topology) as s:
        before = s.primary_port
        s.failover()
        assert s.primary_port != before


def test_the_command_answers_lines_and_ends_with_its_stdin():
    process = subprocess.Popen([*COMMAND, "single"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())
    answers = []
    for line in ['call ["SET", "k", "v"]', 'call ["GET", "k"]', "status", "nonsense"]:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answers.append(json.loads(process.stdout.readline()))
    assert [answer["ok"] for answer in answers] == [True, True, True, False]
    assert answers[1]["reply"] == "v" and answers[2]["pids"] == first["pids"]
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
    assert all(gone(pid) for pid in first["pids"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_the_harness(number):
    process = subprocess.Popen([*COMMAND, "sentinel"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pids = json.loads(process.stdout.readline())["pids"]
    assert len(pids) == 5
    process.send_signal(number)
    process.wait(10)
    eventually(lambda: all(gone(pid) for pid in pids))
    process.stdin.close()
    process.stdout.close()


def test_no_server_outlives_the_parent_of_the_harness():
    # The inherited stdin stays open, as in a program that forked before it died.
    reading, writing = os.pipe()
    script = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen({[*COMMAND, 'single']!r}, stdin={reading}, stdout=subprocess.PIPE, pass_fds=[{writing}])\n"
        "print(p.stdout.readline().decode(), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[reading, writing], capture_output=True, text=True, timeout=30
    )
    pids = json.loads(done.stdout)["pids"]
    eventually(lambda: all(gone(pid) for pid in pids))
    os.close(reading)
    os.close(writing)


def test_fetching_again_says_where_it_is_and_is_quick():
    done = subprocess.run(
        [sys.executable, servers.__file__, "fetch", "redis"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "redis" in done.stderr and done.stdout == ""


def test_an_unknown_server_is_refused():
    done = subprocess.run([sys.executable, servers.__file__, "fetch", "memcached"], capture_output=True, text=True)
    assert done.returncode != 0 and "memcached" in done.stderr


@pytest.mark.parametrize("server", ["redis", "valkey"])
def test_the_configuration_of_deploy_is_one_that_the_servers_take(server, tmp_path):
    binary = servers.fetch(server)[0]
    config = (Path(servers.__file__).parents[1] / "deploy/redis.conf").read_text()
    port = free_ports(1)[0]
    overrides = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--requirepass", "p"]
    (tmp_path / "redis.conf").write_text(config.replace("dir /data", f"dir {tmp_path}"))
    process = spawn([binary.path, str(tmp_path / "redis.conf"), *overrides], tmp_path / "log", binary.environment())
    try:
        wait_for("the server", lambda: Client(port, password="p").call("PING") == b"PONG")
        with Client(port, password="p") as client:
            settings = client.call("CONFIG", "GET", "maxmemory-policy") + client.call("CONFIG", "GET", "appendonly")
        assert settings == [b"maxmemory-policy", b"allkeys-lru", b"appendonly", b"yes"]
    finally:
        end_all([process])
