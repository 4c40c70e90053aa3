"""Resizing in place: containers (UpdateContainerResources) and pods (UpdatePodSandboxResources, containerd >= 2.3)."""

import json
import os
import pathlib
import uuid

import pytest

import wire
from node import CONTAINERD, CONTAINERD_SOCKET, STATE, Failed, Node, crictl, crictl_json, until

LOOP = ["sh", "-c", "while :; do sleep 1; done"]
EATER = ["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=24 2>/dev/null | tr '\\0' a); echo ready; sleep 1000 & wait"]
MIB = 1 << 20
CRI = "runtime.v1.RuntimeService"
needs_2_3 = pytest.mark.skipif(CONTAINERD.startswith("2.1"), reason="containerd 2.1 has no UpdatePodSandboxResources")


def path(controller, cgroup, name):
    return pathlib.Path("/sys/fs/cgroup") / controller / cgroup.lstrip("/") / name


def read(controller, cgroup, name):
    return int(path(controller, cgroup, name).read_text())


def limits(cgroup):
    return {
        "memory": read("memory", cgroup, "memory.limit_in_bytes"),
        "shares": read("cpu", cgroup, "cpu.shares"),
        "quota": read("cpu", cgroup, "cpu.cfs_quota_us"),
        "period": read("cpu", cgroup, "cpu.cfs_period_us"),
    }


def parent(pod):
    return pod.config["linux"]["cgroup_parent"]


def resources(period=None, quota=None, shares=None, memory=None, cpuset=None):
    """runtime.v1.LinuxContainerResources"""
    return wire.message((1, period), (2, quota), (3, shares), (4, memory), (6, cpuset))


def resize(pod, what=None, overhead=None):
    """UpdatePodSandboxResources, as a kubelet sends it."""
    payload = wire.message((1, pod.id), (2, overhead), (3, what))
    with wire.Grpc(CONTAINERD_SOCKET) as g:
        g.call("UpdatePodSandboxResources", payload, service=CRI)


def remembered(pod):
    """(resources, overhead) as the sandboxer tells them."""
    status = wire.parse(wire.controller("Status", wire.message((1, pod.id), (2, 1))))
    info = {wire.parse(e)[1][0]: wire.parse(e)[2][0] for e in status[4]}
    info = json.loads(info[b"info"])
    return info["resources"], info["overhead"]


@needs_2_3
def test_a_pod_whose_cgroup_is_ours(node):
    pod = node.pod(linux={"resources": {"memory_limit_in_bytes": 64 * MIB, "cpu_shares": 300}, "overhead": {"memory_limit_in_bytes": 4 * MIB}})
    pod.run(*LOOP)
    assert limits(parent(pod)) == {"memory": 68 * MIB, "shares": 300, "quota": -1, "period": 100000}
    resize(pod, resources(period=50000, quota=25000, shares=700, memory=128 * MIB), resources(period=100000, quota=10000, shares=24, memory=8 * MIB))
    wanted = {"memory": 136 * MIB, "shares": 724, "quota": 30000, "period": 50000}
    assert limits(parent(pod)) == wanted
    node.restart_sandboxer()
    assert limits(parent(pod)) == wanted
    assert remembered(pod) == ({"cpu_period": 50000, "cpu_quota": 25000, "cpu_shares": 700, "memory_limit_in_bytes": 128 * MIB},
                               {"cpu_period": 100000, "cpu_quota": 10000, "cpu_shares": 24, "memory_limit_in_bytes": 8 * MIB})
    # the owner is remembered, too
    Node.retry_unavailable(lambda: crictl("inspectp", pod.id))
    resize(pod, resources(memory=96 * MIB))
    assert limits(parent(pod)) == wanted | {"memory": 104 * MIB}
    pod.remove()
    assert not path("memory", parent(pod), "").exists()


@needs_2_3
def test_less_memory_than_is_used_changes_nothing(node):
    pod = node.pod(linux={"resources": {"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 300}})
    container = pod.run(*EATER)
    until(lambda: "ready" in container.logs(), "it has its memory")
    before = limits(parent(pod))
    with wire.refused(wire.PRECONDITION, "memory limit", str(8 * MIB)):
        resize(pod, resources(period=50000, quota=25000, shares=100, memory=8 * MIB))
    assert limits(parent(pod)) == before
    assert remembered(pod)[0] == {"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 300}
    assert container.state() == "CONTAINER_RUNNING"


@needs_2_3
def test_a_limit_that_the_kernel_refuses_is_taken_back_whole(node):
    """A container below may not have more CPU than its pod (version 1)."""
    pod = node.pod(linux={"resources": {"memory_limit_in_bytes": 96 * MIB}})
    pod.run(*LOOP, linux={"resources": {"cpu_period": 100000, "cpu_quota": 80000}})
    before = limits(parent(pod))
    with wire.refused(wire.PRECONDITION, "cpu.cfs_quota_us", "below it more"):
        resize(pod, resources(period=100000, quota=20000, shares=100, memory=128 * MIB))
    assert limits(parent(pod)) == before


@needs_2_3
def test_a_pod_whose_cgroup_is_kubelets(node):
    """It is there before the pod, its limits are the kubelet's, and it stays."""
    cgroup = f"/kubepods/burstable/pod{uuid.uuid4().hex}"
    controllers = ["memory", "cpu", "cpuacct", "pids"]
    for controller in controllers:
        os.makedirs(path(controller, cgroup, ""))
    try:
        pod = node.pod(linux={"cgroup_parent": cgroup, "resources": {"memory_limit_in_bytes": 64 * MIB}})
        path("memory", cgroup, "memory.limit_in_bytes").write_text(str(80 * MIB))
        before = limits(cgroup)
        resize(pod, resources(shares=700, memory=32 * MIB, cpuset="0"))
        assert limits(cgroup) == before
        assert remembered(pod)[0] == {"cpu_shares": 700, "memory_limit_in_bytes": 32 * MIB}
        node.restart_sandboxer()
        assert remembered(pod)[0] == {"cpu_shares": 700, "memory_limit_in_bytes": 32 * MIB}
        pod.remove()
        assert path("memory", cgroup, "").exists()
    finally:
        node.remove_pods()
        for hierarchy in pathlib.Path("/sys/fs/cgroup").iterdir():
            for directory in (cgroup, os.path.dirname(cgroup)):
                try:
                    os.rmdir(f"{hierarchy}{directory}")
                except OSError:
                    pass


@needs_2_3
def test_bad_sizes_name_the_field(node, pod):
    before = limits(parent(pod))
    for what, *texts in [(resources(shares=1), "cpu_shares"), (resources(quota=5), "cpu_quota"), (resources(period=1), "cpu_period"),
                         (resources(memory=-7), "memory_limit_in_bytes"), (resources(shares=512, cpuset="0"), "cpuset_cpus", "its containers")]:
        with wire.refused(wire.INVALID, *texts):
            resize(pod, what)
        assert limits(parent(pod)) == before
    assert remembered(pod) == ({}, {})
    resize(pod)  # nothing to change is fine


def test_a_container_up_and_down(pod):
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB}})
    cgroup = f"{parent(pod)}/{container.id}"
    crictl("update", "--memory", 96 * MIB, "--cpu-share", 512, "--cpu-period", 50000, "--cpu-quota", 20000, container.id)
    assert limits(cgroup) == {"memory": 96 * MIB, "shares": 512, "quota": 20000, "period": 50000}
    crictl("update", "--memory", 32 * MIB, container.id)
    assert limits(cgroup)["memory"] == 32 * MIB


def test_less_memory_than_a_container_uses_changes_nothing(pod):
    container = pod.run(*EATER, linux={"resources": {"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 512}})
    until(lambda: "ready" in container.logs(), "it has its memory")
    cgroup = f"{parent(pod)}/{container.id}"
    before = limits(cgroup)
    with pytest.raises(Failed) as refused:
        crictl("update", "--memory", 8 * MIB, "--cpu-share", 100, container.id)
    assert "resources.memory.limit" in refused.value.err and "uses" in refused.value.err, refused.value.err
    assert limits(cgroup) == before
    assert container.state() == "CONTAINER_RUNNING" and container.exec("echo", "unhurt").stdout == "unhurt\n"


def test_a_container_keeps_its_new_limits_over_restarts(node, pod):
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB}})
    cgroup = f"{parent(pod)}/{container.id}"
    crictl("update", "--memory", 96 * MIB, container.id)
    node.restart_sandboxer()
    assert limits(cgroup)["memory"] == 96 * MIB
    assert crictl_json("inspect", container.id)["status"]["resources"]["linux"]["memoryLimitInBytes"] == str(96 * MIB)
    assert not list(STATE.glob("quarantine/*"))
