"""Many at once, one that hangs, and nothing that grows."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import time

import pytest

import node as kuasar
import programs
from node import until
from wire import RUNNING, Ttrpc, message, parse

LOOP = ["sh", "-c", "while :; do sleep 1; done"]


def test_30_pods_at_once(node):
    def one(_):
        return programs.run(node.pod(next(programs.HANDLERS)), *programs.WAIT)
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        containers = list(pool.map(one, range(30)))
    assert all(c.state() == "CONTAINER_RUNNING" for c in containers)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(programs.answers, containers))


@kuasar.not_in_machines("the runtime is in the guest")
def test_a_hanging_runtime_hinders_nobody(node):
    """A runtime whose create never returns, for one pod; everybody else is served at once."""
    wrapper = pathlib.Path("/usr/local/bin/runc")
    flag = pathlib.Path("/run/hang")
    real = "/usr/sbin/runc"
    wrapper.write_text(f"#!/bin/sh\ncase \"$*\" in *\" create \"*) while [ -e {flag} ]; do sleep 0.1; done;; esac\nexec {real} \"$@\"\n")
    wrapper.chmod(0o755)
    try:
        others = [node.pod().run(*LOOP) for _ in range(4)]
        killed, stopped = others[:2]
        pod = node.pod()
        stuck = pod.create(*LOOP)
        flag.touch()
        starter = subprocess.Popen(["crictl", "--timeout", "60s", "start", stuck.id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: any("create" in c and stuck.id in c for c in kuasar.processes().values()), "create hangs")
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(len(others)) as pool:
            served = pool.map(lambda c: c.exec("echo", "served").stdout, others)
        assert list(served) == ["served\n"] * len(others)
        with Ttrpc() as server:
            for container in others:
                assert parse(server.call("State", message((1, container.id)), timeout=5))[4] == [RUNNING]
            server.call("Kill", message((1, killed.id), (3, signal.SIGKILL)), timeout=5)
        assert killed.wait_exit() == 137
        stopped.stop(grace=0)
        assert stopped.status()["exitCode"] == 137
        assert time.monotonic() - begin < 15, "the others waited for the one that hangs"
        flag.unlink()
        assert starter.wait(timeout=60) == 0
        assert stuck.exec("echo", "late").stdout == "late\n"
    finally:
        flag.unlink(missing_ok=True)
        node.remove_pods()
        wrapper.unlink()


@pytest.mark.any_containerd
def test_200_pod_cycles_leave_nothing(node):
    """Descriptors and memory of both daemons are the same after 200 pods (40 virtual machines)."""
    fields, warm, cycles = {"linux": {"security_context": {"namespace_options": {"network": 2}}}}, 20, 200
    if kuasar.KIND == "vmm":
        fields, warm, cycles = {}, 5, 40
    node.remove_pods()
    def cycle():
        pod = node.pod(next(programs.HANDLERS), **fields)
        programs.run(pod, *programs.leave(0)).wait_exit()
        pod.remove()
        node.pods.remove(pod)
    for _ in range(warm):
        cycle()
    time.sleep(1)
    pids = {"sandboxer": node.daemon.pid, "task": node.task_pid()}
    before = {n: (kuasar.open_fds(p), kuasar.rss_kib(p)) for n, p in pids.items()}
    census = kuasar.census()
    for _ in range(cycles):
        cycle()
    time.sleep(1)
    assert kuasar.census() == census
    slack = 1024 if os.environ.get("KUASAR_PRESET") != "asan" else 200 * 1024  # the sanitizer keeps freed memory
    for name, pid in pids.items():
        fds, rss = kuasar.open_fds(pid), kuasar.rss_kib(pid)
        assert fds == before[name][0], f"{name}: {before[name][0]} descriptors before, {fds} after"
        assert rss <= before[name][1] + slack, f"{name}: {before[name][1]} KiB before, {rss} after"
    node.restart_daemons(*node.daemon_args)  # now a sanitizer tells what these have lost
