"""Resizing in place: containers (UpdateContainerResources) and pods (UpdatePodSandboxResources, containerd >= 2.3)."""

import json
import uuid

import pytest

import wire
from node import CONTAINERD, CONTAINERD_SOCKET, STATE, V2, Cgroup, Failed, Node, container_weights, crictl, crictl_json, pod_weight, until

LOOP = ["sh", "-c", "while :; do sleep 1; done"]
EATER = ["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=24 2>/dev/null | tr '\\0' a); echo ready; sleep 1000 & wait"]
MIB = 1 << 20
CRI = "runtime.v1.RuntimeService"
needs_2_3 = pytest.mark.skipif(CONTAINERD.startswith("2.1"), reason="containerd 2.1 has no UpdatePodSandboxResources")


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
    assert pod.cgroup().limits() == {"memory": 68 * MIB, "weight": pod_weight(300), "quota": None, "period": 100000}
    resize(pod, resources(period=50000, quota=25000, shares=700, memory=128 * MIB), resources(period=100000, quota=10000, shares=24, memory=8 * MIB))
    wanted = {"memory": 136 * MIB, "weight": pod_weight(724), "quota": 30000, "period": 50000}
    assert pod.cgroup().limits() == wanted
    node.restart_sandboxer()
    assert pod.cgroup().limits() == wanted
    assert remembered(pod) == ({"cpu_period": 50000, "cpu_quota": 25000, "cpu_shares": 700, "memory_limit_in_bytes": 128 * MIB},
                               {"cpu_period": 100000, "cpu_quota": 10000, "cpu_shares": 24, "memory_limit_in_bytes": 8 * MIB})
    # the owner is remembered, too
    Node.retry_unavailable(lambda: crictl("inspectp", pod.id))
    resize(pod, resources(memory=96 * MIB))
    assert pod.cgroup().limits() == wanted | {"memory": 104 * MIB}
    pod.remove()
    assert not pod.cgroup().exists()


@needs_2_3
def test_less_memory_than_is_used_changes_nothing(node):
    pod = node.pod(linux={"resources": {"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 300}})
    container = pod.run(*EATER)
    until(lambda: "ready" in container.logs(), "it has its memory")
    before = pod.cgroup().limits()
    with wire.refused(wire.PRECONDITION, "memory limit", str(8 * MIB)):
        resize(pod, resources(period=50000, quota=25000, shares=100, memory=8 * MIB))
    assert pod.cgroup().limits() == before
    assert remembered(pod)[0] == {"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 300}
    assert container.state() == "CONTAINER_RUNNING"


@needs_2_3
@pytest.mark.skipif(V2, reason="version 2 refuses no limit of these")
def test_a_limit_that_the_kernel_refuses_is_taken_back_whole(node):
    """A container below may not have more CPU than its pod."""
    pod = node.pod(linux={"resources": {"memory_limit_in_bytes": 96 * MIB}})
    pod.run(*LOOP, linux={"resources": {"cpu_period": 100000, "cpu_quota": 80000}})
    before = pod.cgroup().limits()
    with wire.refused(wire.PRECONDITION, "cpu.cfs_quota_us", "below it more"):
        resize(pod, resources(period=100000, quota=20000, shares=100, memory=128 * MIB))
    assert pod.cgroup().limits() == before


@needs_2_3
def test_a_pod_whose_cgroup_is_kubelets(node):
    """It is there before the pod, its limits are the kubelet's, and it stays."""
    cgroup = Cgroup(f"/kubepods/burstable/pod{uuid.uuid4().hex}").make()
    try:
        pod = node.pod(linux={"cgroup_parent": cgroup.path, "resources": {"memory_limit_in_bytes": 64 * MIB}})
        cgroup.set_memory_limit(80 * MIB)
        before = cgroup.limits()
        resize(pod, resources(shares=700, memory=32 * MIB, cpuset="0"))
        assert cgroup.limits() == before
        assert remembered(pod)[0] == {"cpu_shares": 700, "memory_limit_in_bytes": 32 * MIB}
        node.restart_sandboxer()
        assert remembered(pod)[0] == {"cpu_shares": 700, "memory_limit_in_bytes": 32 * MIB}
        pod.remove()
        assert cgroup.exists()
    finally:
        node.remove_pods()
        cgroup.remove()
        Cgroup("/kubepods/burstable").remove()


@needs_2_3
def test_bad_sizes_name_the_field(node, pod):
    before = pod.cgroup().limits()
    for what, *texts in [(resources(shares=1), "cpu_shares"), (resources(quota=5), "cpu_quota"), (resources(period=1), "cpu_period"),
                         (resources(memory=-7), "memory_limit_in_bytes"), (resources(shares=512, cpuset="0"), "cpuset_cpus", "its containers")]:
        with wire.refused(wire.INVALID, *texts):
            resize(pod, what)
        assert pod.cgroup().limits() == before
    assert remembered(pod) == ({}, {})
    resize(pod)  # nothing to change is fine


def test_a_container_up_and_down(pod):
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB}})
    cgroup = container.cgroup()
    crictl("update", "--memory", 96 * MIB, "--cpu-share", 512, "--cpu-period", 50000, "--cpu-quota", 20000, container.id)
    new = cgroup.limits()
    assert new.pop("weight") in container_weights(512)
    assert new == {"memory": 96 * MIB, "quota": 20000, "period": 50000}
    crictl("update", "--memory", 32 * MIB, container.id)
    assert cgroup.limits()["memory"] == 32 * MIB


def test_less_memory_than_a_container_uses_changes_nothing(pod):
    container = pod.run(*EATER, linux={"resources": {"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 512}})
    until(lambda: "ready" in container.logs(), "it has its memory")
    cgroup = container.cgroup()
    before = cgroup.limits()
    with pytest.raises(Failed) as refused:
        crictl("update", "--memory", 8 * MIB, "--cpu-share", 100, container.id)
    assert "resources.memory.limit" in refused.value.err and "uses" in refused.value.err, refused.value.err
    assert cgroup.limits() == before
    assert container.state() == "CONTAINER_RUNNING" and container.exec("echo", "unhurt").stdout == "unhurt\n"


def test_a_container_keeps_its_new_limits_over_restarts(node, pod):
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB}})
    cgroup = container.cgroup()
    crictl("update", "--memory", 96 * MIB, container.id)
    node.restart_sandboxer()
    assert cgroup.limits()["memory"] == 96 * MIB
    assert crictl_json("inspect", container.id)["status"]["resources"]["linux"]["memoryLimitInBytes"] == str(96 * MIB)
    assert not list(STATE.glob("quarantine/*"))
