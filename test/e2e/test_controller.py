"""Calls of the Sandbox Controller that CRI does not make (yet), and health, on a living pod."""

import json
import os
import signal
import threading
import time

import node as kuasar
import wire
from node import STATE, V2, until


def sandbox_id(pod):
    return wire.message((1, pod.id))


def test_health(node):
    answer = wire.controller("Check", b"", service="grpc.health.v1.Health")
    assert wire.parse(answer) == {1: [1]}, "SERVING"


def test_metrics_are_those_of_the_pods_cgroup(pod):
    pod.run("sh", "-c", "while :; do :; done")

    def cpu():
        metric = wire.parse(wire.parse(wire.controller("Metrics", sandbox_id(pod)))[1][0])
        assert metric[2] == [pod.id.encode()]
        data = wire.parse(metric[3][0])
        if V2:
            assert data[1] == [b"io.containerd.cgroups.v2.Metrics"]
            return wire.parse(wire.parse(data[2][0])[2][0])[1][0] * 1000
        assert data[1] == [b"io.containerd.cgroups.v1.Metrics"]
        usage = wire.parse(wire.parse(data[2][0])[3][0])[1][0]
        return wire.parse(usage)[1][0]

    before = pod.cgroup().cpu_ns()
    first = cpu()
    assert first >= before > 0, "nanoseconds, as the kernel counts them"
    until(lambda: cpu() > first, "it counts on")


def test_platform(pod):
    platform = wire.parse(wire.parse(wire.controller("Platform", sandbox_id(pod)))[1][0])
    assert platform[1] == [b"linux"] and platform[2][0] in (b"amd64", b"arm64", b"riscv64")


def test_update_of_the_pods_resources(pod):
    resources = wire.any_of("io.containerd.cri.v1/UpdatedResources", b'{"Overhead":null,"Resources":{"cpu_shares":512}}')
    record = wire.message((1, pod.id), (7, wire.message((1, "updated-resources"), (2, resources))))
    assert wire.controller("Update", wire.message((1, pod.id), (3, record), (4, "extensions"))) == b""


def test_status_says_when_and_where(pod):
    status = wire.parse(wire.controller("Status", sandbox_id(pod)))
    assert status[3] == [b"SANDBOX_READY"] and status[8] == [f"ttrpc+unix://{kuasar.TASK_SOCKET}".encode()] and status[9] == [3]
    assert 4 not in status, "no info without verbose"


def test_a_call_under_way_is_answered_before_the_daemon_ends(node):
    pod = node.pod()
    pod.run("sleep", "1000")
    task, answers = node.task_pid(), []
    worker = threading.Thread(target=lambda: answers.append(wire.controller("Stop", sandbox_id(pod))))
    os.kill(task, signal.SIGSTOP)  # so it takes as long as we like
    try:
        worker.start()
        until(lambda: json.loads((STATE / f"sandboxes/{pod.id}/sandbox.json").read_text())["state"] == "stopping", "it is under way")
        node.daemon.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert node.daemon.poll() is None and not answers
    finally:
        os.kill(task, signal.SIGCONT)
    worker.join(timeout=20)
    assert answers == [b""]
    assert node.daemon.wait(timeout=5) == 0, "it does not wait for containerd's Wait"
    node.start_sandboxer(*node.daemon_args)
    until(lambda: pod.state() == "SANDBOX_NOTREADY", "containerd is told")


def capabilities(pid):
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status", encoding="ascii"))
    return {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")}


def test_what_no_daemon_uses_is_given_up_and_left_to_containers(node):
    unused = 1 << 16 | 1 << 22 | 1 << 25  # CAP_SYS_MODULE, CAP_SYS_BOOT, CAP_SYS_TIME
    ours = capabilities("self")
    for pid in node.daemon_pids().values():
        caps = capabilities(pid)
        assert not (caps["CapEff"] | caps["CapPrm"]) & unused
        assert caps["CapBnd"] == ours["CapBnd"]
    container = node.pod(linux={"security_context": {"privileged": True}}).run(
        "sleep", "1000", linux={"security_context": {"privileged": True}})
    assert capabilities(container.pid())["CapEff"] == ours["CapBnd"]
