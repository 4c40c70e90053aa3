"""Modules, with every engine: signals and numbers by the Task API, networks, and daemons that are away."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import node as kuasar
import test_bad_input
import wasm
import wire
from node import crictl, crictl_json, until
from test_wasm import CACHE, TOOL, no_swap, outcome, run
from wasm.binary import long_module

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("image")

bundle = test_bad_input.bundle


@pytest.fixture
def pod(node, handler):
    return node.pod(handler)


def running(pod, *command, **fields):
    """A module that has said something."""
    container = run(pod, TOOL, *command, **fields)
    until(container.logs, "it runs")
    return container


def kill(container, number):
    wire.task("Kill", wire.message((1, container.id), (3, int(number))))


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def gone(*pids):
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), f"{pids} have ended")


# ---- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL])
def test_signals_that_end_a_module(pod, number):
    container = running(pod, "wait", "600")
    kill(container, number)
    assert container.wait_exit() == 128 + number


def test_signals_that_do_not(pod):
    """A terminal's size changed, and the like: the next one finds it alive, and is the one that is told."""
    container = running(pod, "spin")
    for number in (signal.SIGWINCH, signal.SIGURG, signal.SIGCHLD, signal.SIGCONT):
        kill(container, number)
    status = pathlib.Path(f"/proc/{container.pid()}/status")
    def pending():
        facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(facts["SigPnd"], 16) | int(facts["ShdPnd"], 16)
    until(lambda: not pending(), "they are taken")
    assert container.exec(TOOL, "exit", "0").stdout and container.state() == "CONTAINER_RUNNING"
    kill(container, signal.SIGTERM)
    assert container.wait_exit() == 128 + signal.SIGTERM


def test_ends_by_term_while_it_waits_for_input(pod):
    container = pod.create(TOOL, "echo", image=wasm.IMAGE, stdin=True).start()
    # In a read: not runnable.
    stat = pathlib.Path(f"/proc/{container.pid()}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "it sleeps")
    container.stop(grace=30)
    assert container.status()["exitCode"] == 128 + signal.SIGTERM  # and not KILL


def test_a_signal_to_an_exec(pod):
    container = running(pod, "wait", "600")
    before = set(container.cgroup().pids())
    with subprocess.Popen(["crictl", "exec", container.id, TOOL, "spin"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "spinning\n"
        # On a busy machine one that helped it into the container may still be ending.
        pid, = until(lambda: len(new := set(container.cgroup().pids()) - before) == 1 and new, "the module is all that is new")
        os.kill(pid, signal.SIGTERM)
        assert "143" in client.communicate(timeout=30)[1]
    assert container.state() == "CONTAINER_RUNNING"


def test_ends_by_term_in_the_hosts_pid_namespace(node, handler):
    host = {"linux": {"security_context": {"namespace_options": {"pid": 2}}}}
    container = running(node.pod(handler, **host), "spin", **host)
    assert namespace(container.pid(), "pid") == namespace("self", "pid")
    container.stop(grace=30)
    assert container.status()["exitCode"] == 128 + signal.SIGTERM


def test_in_the_pid_namespace_of_another_container(pod):
    """A module as a guest, and as the host of one."""
    def beside(other):
        return {"linux": {"security_context": {"namespace_options": {"pid": 3, "target_id": other.id}}}}
    native = pod.run("sleep", "600")
    guest = running(pod, "spin", **beside(native))
    assert namespace(guest.pid(), "pid") == namespace(native.pid(), "pid")
    guest.stop(grace=30)
    assert guest.status()["exitCode"] == 128 + signal.SIGTERM and native.state() == "CONTAINER_RUNNING"
    module = running(pod, "wait", "600")
    debugger = pod.run("sleep", "600", **beside(module))
    assert "wasm-worker" in debugger.exec("ps", "-o", "args").stdout and namespace(debugger.pid(), "pid") == namespace(module.pid(), "pid")
    pids = debugger.pid(), module.pid()
    module.stop(grace=30)
    assert module.status()["exitCode"] == 128 + signal.SIGTERM
    gone(*pids)  # with the first process all of a namespace end
    assert debugger.wait_exit() == 128 + signal.SIGKILL


def test_killed_while_it_is_paused(pod):
    container = running(pod, "spin")
    wire.task("Pause", wire.message((1, container.id)))
    kill(container, signal.SIGKILL)
    assert container.wait_exit() == 128 + signal.SIGKILL


def test_paused_and_ended_by_term(pod):
    container = running(pod, "spin")
    wire.task("Pause", wire.message((1, container.id)))
    kill(container, signal.SIGTERM)
    assert container.state() == "CONTAINER_RUNNING"
    wire.task("Resume", wire.message((1, container.id)))
    assert container.wait_exit() == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_before_it_is_started(bundle, number):
    assert test_bad_input.killed_before_it_is_started(bundle[0], number) == 128 + number


# ---- removal ------------------------------------------------------------------------------------


def test_removed_by_force_while_it_runs(pod):
    container, other = running(pod, "spin"), running(pod, "wait", "600")
    pids = container.pid(), other.pid()
    crictl("rm", "-f", container.id)
    gone(pids[0])
    assert other.exec(TOOL, "exit", "0").stdout
    pod.remove()
    gone(pids[1])


@pytest.mark.parametrize("method", ["Stop", "Shutdown"])
def test_the_end_of_a_sandbox_is_that_of_its_modules(node, handler, method):
    """containerd stops containers before their sandbox; if a sandbox is stopped under them, none runs on, nor an exec."""
    before = kuasar.census()
    pod = node.pod(handler)
    busy, idle = running(pod, "spin"), running(pod, "wait", "600")
    client = subprocess.Popen(["crictl", "exec", idle.id, TOOL, "spin"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert client.stdout.readline() == "spinning\n"
        pids = {*busy.cgroup().pids(), *idle.cgroup().pids()}
        assert len(pids) >= 3
        assert wire.controller(method, wire.message((1, pod.id)), timeout=60) == b""
        assert not pids & set(kuasar.processes()), "they have ended when it answers"
        assert client.wait(timeout=30) != 0
    finally:
        client.kill()
        client.communicate()
    assert [container.wait_exit() for container in (busy, idle)] == [128 + signal.SIGKILL] * 2
    until(lambda: pod.state() == "SANDBOX_NOTREADY", "containerd is told")
    pod.remove()
    kuasar.nothing_left(before)


def test_removed_before_it_is_started(pod):
    created = pod.create(TOOL, "exit", "0", image=wasm.IMAGE)
    created.remove()
    assert outcome(pod, TOOL, "exit", "3")[0] == 3


def test_pod_removed_under_an_exec(pod):
    container = running(pod, "wait", "600")
    before = set(container.cgroup().pids())
    with subprocess.Popen(["crictl", "exec", container.id, TOOL, "spin"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "spinning\n"
        pids = container.cgroup().pids()
        assert len(set(pids) - before) == 1
        pod.remove()
        gone(*pids)
        client.communicate(timeout=30)
        assert client.returncode != 0


# ---- exec ---------------------------------------------------------------------------------------


def test_an_exec_that_takes_too_long(pod):
    container = running(pod, "wait", "600")
    result = crictl("exec", "-s", "--timeout", "1", container.id, TOOL, "spin", check=False)
    assert result.returncode != 0 and "DeadlineExceeded" in result.stderr
    until(lambda: container.cgroup().pids() == [container.pid()], "it has been ended")


def test_execs_side_by_side(pod):
    container = running(pod, "wait", "600")
    echo = ["crictl", "exec", "-i", container.id, TOOL, "echo"]
    clients = [subprocess.Popen(echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
    until(lambda: len(container.cgroup().pids()) == 9, "all are there")
    for n, client in reversed(list(enumerate(clients))):
        assert client.communicate(b"%d\n" % n, timeout=60)[0] == b"%d\n" % n and client.returncode == 0
    until(lambda: container.cgroup().pids() == [container.pid()], "all have ended")


# ---- numbers ------------------------------------------------------------------------------------


def test_the_one_process_of_a_module(pod):
    container = running(pod, "wait", "600")
    told = wire.parse(wire.task("Pids", wire.message((1, container.id))))[1]
    assert [wire.parse(entry)[1][0] for entry in told] == [container.pid()] == container.cgroup().pids()


def test_processor_time_of_a_busy_module(pod):
    container = running(pod, "spin")
    def told():
        stats = crictl_json("stats", "--id", container.id)["stats"]
        return int(stats[0].get("cpu", {}).get("usageCoreNanoSeconds", {}).get("value", 0)) if stats else 0
    first = until(told, "it is told")
    assert first <= container.cgroup().cpu_ns()
    until(lambda: told() > first + 100_000_000, "it grows")


def test_stats_of_a_pod(pod):
    for _ in range(2):
        run(pod, TOOL, "hold", "16", "600")
    def told():
        linux = crictl_json("statsp", "--id", pod.id)["stats"][0]["linux"]
        return int(linux["process"]["processCount"]["value"]), int(linux["memory"]["workingSetBytes"]["value"])
    until(lambda: told()[1] > 32 << 20, "memory of both shows")
    assert told()[0] == pod.cgroup().pids_current()
    cpu = int(crictl_json("statsp", "--id", pod.id)["stats"][0]["linux"]["cpu"]["usageCoreNanoSeconds"]["value"])
    assert 0 < cpu <= pod.cgroup().cpu_ns()


@pytest.fixture
def tmpfs(tmp_path):
    kuasar.run("mount", "-t", "tmpfs", "tmpfs", tmp_path)
    yield tmp_path
    kuasar.run("umount", tmp_path)


def test_a_module_that_is_killed_for_memory(pod, tmpfs):
    """By what no engine counts: files that lie in memory."""
    limit = {"linux": {"resources": {"memory_limit_in_bytes": 64 << 20, "memory_swap_limit_in_bytes": 64 << 20}}}
    container = run(pod, TOOL, "fill", "/volume/file", "256", mounts=[{"host_path": str(tmpfs), "container_path": "/volume"}], **limit)
    assert container.wait_exit() == 128 + signal.SIGKILL
    assert container.status()["reason"] == "OOMKilled"


@no_swap
def test_a_module_over_the_limit_of_its_pod(pod):
    """Of which its engine knows nothing."""
    pod.cgroup().set_memory_limit(96 << 20)
    container = run(pod, TOOL, "grow", "512")
    assert container.wait_exit() == 128 + signal.SIGKILL, container.logs()
    assert container.status()["reason"] == "OOMKilled"


# ---- namespaces ---------------------------------------------------------------------------------


def test_sysctls_of_the_pod(node, handler):
    sysctls = {"net.ipv4.ip_local_port_range": "2000\t65000", "kernel.shm_rmid_forced": "1"}
    container = running(node.pod(handler, linux={"sysctls": sysctls}), "wait", "600")
    for name, value in sysctls.items():
        assert kuasar.run("nsenter", "-t", container.pid(), "-n", "-i", "sysctl", "-n", name).stdout == f"{value}\n"


# ---- networks -----------------------------------------------------------------------------------


HELLO = b"hello from a module (GET /it HTTP/1.0)\n"


def test_port_forward_to_a_module(node):
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")  # which has sockets for modules
    server = run(pod, "/server.wasm", "serve", "8080")
    until(server.logs, "it listens")
    forward = subprocess.Popen(["crictl", "port-forward", pod.id, "18082:8080"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(3):
            until(lambda: kuasar.http_get(18082, "/it").endswith(HELLO), "it answers")
    finally:
        forward.kill()
        forward.wait()


HOST = {"linux": {"security_context": {"namespace_options": {"network": 2, "pid": 1}}}}


def test_a_pod_on_the_hosts_network(node, handler):
    pod = node.pod(handler, **HOST)
    container = running(pod, "wait", "600", **HOST)
    assert namespace(container.pid(), "net") == namespace("self", "net")
    assert container.exec(TOOL, "read", "/etc/hostname").stdout.strip() == os.uname().nodename
    container.stop(grace=30)
    assert container.status()["exitCode"] == 128 + signal.SIGTERM


def test_a_server_on_the_hosts_network(node):
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}", **HOST)
    server = run(pod, "/server.wasm", "serve", "18083", **HOST)
    until(server.logs, "it listens")
    assert kuasar.http_get(18083, "/it").endswith(HELLO)
    pod.remove()
    assert not kuasar.http_get(18083, "/it")


# ---- daemons that are away ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_containerd_restarts_under_modules(node, pod, how, tmp_path):
    volume = {"mounts": [{"host_path": str(tmp_path), "container_path": "/volume"}]}
    stays = running(pod, "wait", "600")
    ends = running(pod, "until", "/volume/first", "6", **volume)
    traps = running(pod, "wait", "600")
    later = running(pod, "until", "/volume/second", "7", **volume)
    created = pod.create(TOOL, "exit", "2", image=wasm.IMAGE)
    pids = ends.pid(), traps.pid()
    node.stop_containerd(how)
    (tmp_path / "first").touch()
    os.kill(pids[1], signal.SIGQUIT)
    gone(*pids)
    node.start_containerd()
    assert (ends.wait_exit(), traps.wait_exit()) == (6, 128 + signal.SIGQUIT)
    assert stays.state() == later.state() == "CONTAINER_RUNNING"
    assert stays.exec(TOOL, "exit", "0").stdout
    (tmp_path / "second").touch()
    assert later.wait_exit() == 7
    assert created.start().wait_exit() == 2
    assert outcome(pod, TOOL, "exit", "8")[0] == 8
    stays.stop(grace=30)
    assert stays.status()["exitCode"] == 128 + signal.SIGTERM


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def ticks(pid):
    """Of the processor."""
    try:
        return sum(int(field) for field in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def stopped_compiler(*others):
    """Pids of a worker, none of these, and of the process that compiles for it, if any, when they have worked for a while: then they are
    stopped, and so do not come to an end by themselves."""
    pids = [pid for worker in kuasar.pids_of("wasm-worker") if worker not in others for pid in (worker, *children(worker))]
    if sum(map(ticks, pids)) < 20:
        return None
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def test_the_task_server_is_killed_while_a_module_is_compiled(node, handler, tmp_path):
    node.remove_pods()
    before = kuasar.census()
    entries = sorted(CACHE.iterdir())
    (tmp_path / "long.wasm").write_bytes(long_module(300_000))
    pod = node.pod(handler)
    container = pod.create("/volume/long.wasm", image=wasm.IMAGE, mounts=[{"host_path": str(tmp_path), "container_path": "/volume"}])
    start = subprocess.Popen(["crictl", "start", container.id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stopped = until(stopped_compiler, "it compiles")
    old = node.task_pid()
    os.kill(old, signal.SIGKILL)
    until(lambda: kuasar.pids_of(kuasar.TASK) not in ([], [old]), "a successor runs")
    assert start.wait(timeout=60) != 0
    gone(*stopped)
    assert outcome(pod, TOOL, "exit", "3")[0] == 3, "a new one in the same pod"
    assert outcome(node.pod(handler), TOOL, "exit", "4")[0] == 4
    node.remove_pods()
    kuasar.nothing_left(before)
    assert not [entry for entry in set(CACHE.iterdir()) - set(entries) if not (entry / "code").exists()], "of the cache no half entry"


def test_others_are_served_while_a_module_is_compiled(node, handler, tmp_path):
    (tmp_path / "long.wasm").write_bytes(long_module(300_000))
    busy = node.pod(handler)
    other = running(node.pod(handler), "wait", "600")
    container = busy.create("/volume/long.wasm", image=wasm.IMAGE, mounts=[{"host_path": str(tmp_path), "container_path": "/volume"}])
    start = subprocess.Popen(["crictl", "start", container.id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stopped = until(lambda: stopped_compiler(other.pid()), "it compiles")
    assert other.exec(TOOL, "read", "/data/file").stdout == "from the image\n"
    assert outcome(node.pod(handler), TOOL, "exit", "4")[0] == 4
    other.stop(grace=30)
    assert other.status()["exitCode"] == 128 + 15
    assert start.poll() is None, "it has not been compiled meanwhile"
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    start.wait(timeout=120)


# ---- what idles ---------------------------------------------------------------------------------


def seconds_of(pid):
    return sum(int(ticks) for ticks in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]) / os.sysconf("SC_CLK_TCK")


def test_a_module_that_has_ended_beside_one_that_lives_costs_nothing(node, pod):
    """Nobody looks for ends again and again."""
    running(pod, "wait", "600")
    assert outcome(pod, TOOL, "exit", "0")[0] == 0
    pids = node.daemon_pids().values()
    before = sum(map(seconds_of, pids))
    time.sleep(3)
    assert sum(map(seconds_of, pids)) - before < 1.5


def code_in(container):
    """Of the mapped pages of the code: which file it is, and the fields of smaps."""
    found = {}
    for line in pathlib.Path(f"/proc/{container.pid()}/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-", line):
            name = line.split(maxsplit=5)
            fields = found.setdefault(tuple(name[3:5]), {}) if len(name) > 5 and name[5].endswith("/code") else None
        elif fields is not None and line.endswith(" kB"):
            key, value, _ = line.split()
            fields[key[:-1]] = fields.get(key[:-1], 0) + int(value)
    return found


def test_the_code_of_a_module_is_shared(node):
    containers = [running(node.pod("kuasar-wasmtime"), "wait", "600") for _ in range(3)]
    (file, fields), = code_in(containers[0]).items()
    assert all(set(code_in(c)) == {file} for c in containers), "one file for all pods"
    assert fields["Shared_Clean"] + fields["Shared_Dirty"] > 0 and fields["Pss"] < fields["Rss"]


# ---- configuration ------------------------------------------------------------------------------


def engine_of(container):
    maps = pathlib.Path(f"/proc/{container.pid()}/maps").read_text()
    return [engine for engine in ("wasmtime", "wasmedge") if f"/engine-{engine}" in maps]


def test_the_configuration_chooses_where_nothing_else_does(node):
    wasm.there("wasmedge")
    assert engine_of(running(node.pod(), "wait", "600")) == ["wasmtime"]
    node.restart_daemons("--config", node.write("engine.toml", 'engine = "wasmedge"\n'))
    try:
        assert engine_of(running(node.pod(), "wait", "600")) == ["wasmedge"]
        assert engine_of(running(node.pod("kuasar-wasmtime"), "wait", "600")) == ["wasmtime"]
        by_annotation = node.pod(annotations={"io.kuasar.wasm.engine": "wasmtime"})
        assert engine_of(running(by_annotation, "wait", "600")) == ["wasmtime"]
        pid = running(node.pod(), "wait", "600")
        node.restart_sandboxer()
        assert engine_of(pid) == engine_of(running(node.pod(), "wait", "600")) == ["wasmedge"]
    finally:
        node.restart_daemons()
