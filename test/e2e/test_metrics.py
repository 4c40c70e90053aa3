"""The Prometheus page of each daemon, and what happens to who asks for it badly."""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import select
import signal
import socket
import subprocess

import pytest

import node as kuasar
import programs
from node import STATE, run, until
from wire import Ttrpc, message

SOCKETS = {"sandboxer": STATE / "sandboxer-metrics.sock", "task": STATE / "task-metrics.sock"}
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def curl(which, *options, url="http://localhost/metrics"):
    return run("curl", "-sS", "--max-time", "15", "--unix-socket", SOCKETS[which], *options, url).stdout


def parse(page):
    """sample -> value; heads and order are checked."""
    samples, types, current = {}, {}, None
    for line in page.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, current, kind = line.split()
            assert current not in types, f"{current} twice"
            types[current] = kind
            continue
        match = re.fullmatch(r"([a-z_]+)(\{[^{}]*\})? ([0-9.]+)", line)
        assert match, line
        base = re.sub(r"_(bucket|sum|count)$", "", match[1]) if types[current] == "histogram" else match[1]
        assert base == current, line
        samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def scrape(which):
    return parse(curl(which))


def connect(which, timeout=15):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(str(SOCKETS[which]))
    return s


def answer(s):
    data = b""
    with contextlib.suppress(ConnectionResetError):  # of a connection that is closed with bytes of ours unread
        while chunk := s.recv(1 << 16):
            data += chunk
    return data


def daemon_pid(node, which):
    return node.daemon_pids()[kuasar.SANDBOXER if which == "sandboxer" else kuasar.TASK]


def test_a_pods_life_is_seen(node):
    before = {which: scrape(which) for which in SOCKETS}
    pod = node.pod()
    container = programs.run(pod, *programs.WAIT)
    assert programs.answers(container)
    now = {which: scrape(which) for which in SOCKETS}

    def more(which, name):
        return now[which][name] - before[which].get(name, 0)
    assert more("sandboxer", 'kuasar_sandboxes{state="ready"}') == 1
    assert more("sandboxer", 'kuasar_operation_duration_seconds_count{operation="sandbox_create"}') == 1
    assert more("sandboxer", 'kuasar_stage_duration_seconds_count{operation="sandbox_create",stage="make"}') == 1
    service = 'service="containerd.services.sandbox.v1.Controller"'
    assert more("sandboxer", f'kuasar_rpc_duration_seconds_count{{{service},method="Create",class="ok"}}') == 1
    assert now["sandboxer"][f'kuasar_rpc_open{{{service},method="Wait"}}'] == now["sandboxer"]['kuasar_parked_calls{for="sandbox_exit"}'] >= 1
    assert more("task", 'kuasar_containers{state="running"}') == 1
    for operation in ("container_create", "container_start", "exec_start"):
        assert more("task", f'kuasar_operation_duration_seconds_count{{operation="{operation}"}}') == 1
    assert more("task", 'kuasar_stage_duration_seconds_count{operation="container_create",stage="mount"}') == 1
    container.stop(grace=0)
    pod.remove()
    until(lambda: scrape("task")['kuasar_containers{state="running"}'] == before["task"]['kuasar_containers{state="running"}'], "no container")
    assert scrape("sandboxer")['kuasar_sandboxes{state="ready"}'] == before["sandboxer"]['kuasar_sandboxes{state="ready"}']
    assert scrape("task")['kuasar_operation_duration_seconds_count{operation="container_delete"}'] >= 1


def operations_open(which, of):
    return scrape(which)[f'kuasar_operations_open{{of="{of}"}}']


@kuasar.not_in_machines("the runtime is in the guest")
def test_what_a_hanging_runtime_holds_up_is_open(node):
    """At work, and in the queue behind it."""
    flag = node.dir / "hang"
    runtime = pathlib.Path(node.write("hanging", f"""#!/bin/sh
        case "$*" in *" pause "*) while [ -e {flag} ]; do sleep 0.1; done ;; esac
        exec runc "$@"
        """))
    runtime.chmod(0o755)
    node.restart_daemons("--config", node.write("hanging.toml", f'runtime = "{runtime}"\n'))
    try:
        container = node.pod().run("sh", "-c", "while :; do sleep 1; done")
        assert operations_open("task", "container") == 0
        flag.touch()
        with Ttrpc() as server:
            paused = server.begin("Pause", message((1, container.id)))
            until(lambda: operations_open("task", "container") == 1, "one is at work")
            resumed = server.begin("Resume", message((1, container.id)))
            until(lambda: operations_open("task", "container") == 2, "one waits for it")
            flag.unlink()
            server.answer(paused)
            server.answer(resumed)
        assert operations_open("task", "container") == 0
    finally:
        flag.unlink(missing_ok=True)
        node.restart_daemons()


def test_a_sandbox_whose_containers_are_still_ending_is_open(node):
    """Here because the task server does not answer."""
    pod = node.pod()
    task = node.task_pid()
    assert operations_open("sandboxer", "sandbox") == 0
    os.kill(task, signal.SIGSTOP)
    try:
        stopping = subprocess.Popen(["crictl", "stopp", pod.id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: operations_open("sandboxer", "sandbox") == 1, "its end has begun")
    finally:
        os.kill(task, signal.SIGCONT)
    assert stopping.wait(timeout=60) == 0
    assert operations_open("sandboxer", "sandbox") == 0


@pytest.mark.parametrize("which", SOCKETS)
def test_the_process_is_the_daemon(node, which):
    page = scrape(which)
    pid = daemon_pid(node, which)
    assert abs(page["kuasar_process_resident_memory_bytes"] / 1024 - kuasar.rss_kib(pid)) < 2048
    assert abs(page["kuasar_process_open_fds"] - kuasar.open_fds(pid)) <= 4
    assert [name for name in page if name.startswith("kuasar_build_info{")], page
    head = curl(which, "--head")
    assert head.startswith("HTTP/1.1 200") and "text/plain; version=0.0.4" in head


def test_only_documented_names(pod):
    programs.run(pod, *programs.leave(0))
    with open("/src/docs/METRICS.md") as f:
        documented = set(re.findall(r"^\| `(kuasar_[a-z_]+)`", f.read(), re.M))
    shown = set()
    for which in SOCKETS:
        shown |= {line.split()[2] for line in curl(which).splitlines() if line.startswith("# TYPE ")}
    assert shown <= documented
    assert documented - shown <= {"kuasar_rpc_errors_total"}, "what is documented is shown"


@pytest.mark.parametrize("which", SOCKETS)
def test_bad_requests(node, which):
    for request, code in [(b"nonsense\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 404),
                          (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405), (b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 9000, 431),
                          (b"GET /" + b"x" * 2000, 431), (os.urandom(4096).replace(b"\n", b"") + b"\n", None)]:
        with connect(which) as s:
            s.sendall(request)
            got = answer(s)
            assert re.match(rb"HTTP/1.1 %d " % code if code else rb"HTTP/1.1 4\d\d ", got), (request[:40], got[:80])
            assert b"Connection: close" in got and got.split(b"\r\n\r\n", 1)[1], "it says what is wrong"
    assert scrape(which)["kuasar_scrapes_refused_total"] >= 7


@pytest.mark.parametrize("which", SOCKETS)
def test_a_thousand_connections(node, which):
    """Most are refused at once, memory and descriptors stay bounded, and the daemon's work goes on."""
    pid = daemon_pid(node, which)
    memory, fds = kuasar.rss_kib(pid), kuasar.open_fds(pid)
    crowd = []
    try:
        for i in range(1000):
            s = connect(which)
            crowd.append(s)
            if i % 2:
                with contextlib.suppress(OSError):  # refused already
                    s.send(GET[:20])  # some never finish asking
        until(lambda: kuasar.open_fds(pid) <= fds + 64 + 4, "those over the limit are closed")
        pod = node.pod()
        assert programs.run(pod, *programs.leave(3)).wait_exit() == 3
        assert kuasar.rss_kib(pid) < memory + 4096
        refused = 0
        for s in crowd:
            s.setblocking(False)
            with contextlib.suppress(OSError):
                refused += s.recv(13) == b"HTTP/1.1 503 "
        assert refused >= 900
    finally:
        for s in crowd:
            s.close()
    until(lambda: kuasar.open_fds(pid) <= fds + 4, "descriptors come back")
    assert "kuasar_build_info" in curl(which)


def test_slow_peers_are_dropped(node):
    """Who asks in drops is told so; who does not read is cut off. Others are served meanwhile."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda which: be_slow(node, which), SOCKETS))


def be_slow(node, which):
    pid = daemon_pid(node, which)
    fds = kuasar.open_fds(pid)
    dripping, silent = connect(which), connect(which, timeout=30)
    try:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(GET)
        ended = False
        for byte in GET[:-2] * 4:
            if select.select([dripping], [], [], 0.2)[0]:
                ended = True
                break
            dripping.send(bytes([byte]))
            if byte == GET[0]:
                assert "kuasar_build_info" in curl(which)
        assert ended and answer(dripping).startswith(b"HTTP/1.1 408 ")
        until(lambda: kuasar.open_fds(pid) <= fds + 4, "both are gone", 30)
    finally:
        dripping.close()
        silent.close()


@pytest.mark.parametrize("which", SOCKETS)
def test_only_our_user(node, which):
    path = SOCKETS[which]
    assert path.stat().st_mode & 0o777 == 0o600
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    assert run(*as_nobody, "curl", "-sS", "--unix-socket", path, "http://x/metrics", check=False).returncode == 7
    path.chmod(0o666)
    try:
        result = run(*as_nobody, "curl", "-sS", "--unix-socket", path, "http://x/metrics", check=False)
        assert result.returncode != 0 and "kuasar_" not in result.stdout, "the peer's uid counts, too"
    finally:
        path.chmod(0o600)


def listening_ports(pid):
    """TCP ports that a process listens on."""
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}")[8:-1] for fd in os.listdir(f"/proc/{pid}/fd")
              if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:[")}
    ports = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}") as f:
            for line in f.read().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def test_a_loopback_port_only_if_asked_for(node):
    for pid in node.daemon_pids().values():
        assert listening_ports(pid) == set()
    config = node.write("metrics.toml", 'sandboxer_metrics_address = "127.0.0.1:9464"\ntask_metrics_address = "127.0.0.1:9465"\n')
    try:
        node.restart_daemons("--config", config)
        pids = node.daemon_pids()
        # containerd's socket is there a moment before.
        until(lambda: listening_ports(pids[kuasar.SANDBOXER]) == {9464} and listening_ports(pids[kuasar.TASK]) == {9465}, "each has its port")
        for port, name in ((9464, "kuasar_sandboxes"), (9465, "kuasar_containers")):
            assert name in run("curl", "-sS", f"http://127.0.0.1:{port}/metrics").stdout
        # a sandboxer that finds its port taken serves its pods all the same
        node.kill_sandboxer()
        with socket.create_server(("127.0.0.1", 9464)):
            node.start_sandboxer("--config", config)
            assert programs.run(node.pod(), *programs.leave(3)).wait_exit() == 3
            assert listening_ports(node.daemon.pid) == set()
            assert "kuasar_sandboxes" in curl("sandboxer")
    finally:
        node.restart_daemons()


def nobody_runs(node):
    """Whether for two seconds neither daemon was given a processor or gave one up."""
    def switches():
        return [re.findall(r"ctxt_switches:\s*(\d+)", read(f"/proc/{pid}/task/{thread}/status"))
                for pid in node.daemon_pids().values() for thread in sorted(os.listdir(f"/proc/{pid}/task"))]
    first = switches()
    run("sleep", "2")
    return switches() == first


def read(path):
    with open(path) as f:
        return f.read()


def test_nobody_asks_nothing_happens(node):
    """Without pods and without scrapes the daemons do not run at all."""
    until(lambda: nobody_runs(node), "two seconds without a wake-up", 30)


@kuasar.not_in_machines("they are asked every few seconds whether they live")
@pytest.mark.any_containerd
def test_idle_pods_wake_nobody(node):
    """Nor do they for pods that do nothing, when containerd does not ask for statistics. (Otherwise 2.3 does, for every container, once a second.)"""
    with node.drop_in("seldom", "[plugins.'io.containerd.cri.v1.runtime']\n  stats_collect_period = '1h'"):
        containers = [container for _ in range(5) for container in (node.pod().run("sleep", "600"), programs.run(node.pod(), *programs.WAIT))]
        until(lambda: nobody_runs(node), "two seconds without a wake-up", 60)
        assert all(container.state() == "CONTAINER_RUNNING" for container in containers)
