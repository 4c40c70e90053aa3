"""Stats of containers and pods, by CRI and by Controller.Metrics: what the cgroup files say."""

import json

import pytest

import wire
from node import CONTAINERD, V2, Failed, agree, crictl, crictl_json, until

# Allocates 8 MiB and then only waits (two processes).
EATER = ["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' a); echo ready; sleep 1000 & wait"]
BUSY = ["sh", "-c", "while :; do :; done"]


def value(stats, *path):
    for key in path:
        stats = stats[key]
    return int(stats["value"])


def container_stats(container):
    return crictl_json("stats", container.id)["stats"][0]


def pod_stats(pod):
    return crictl_json("statsp", "--id", pod.id)["stats"][0]["linux"]


def controller_metrics(pod):
    metric = wire.parse(wire.parse(wire.controller("Metrics", wire.message((1, pod.id))))[1][0])
    data = wire.parse(metric[3][0])
    assert data[1] == [b"io.containerd.cgroups.v2.Metrics" if V2 else b"io.containerd.cgroups.v1.Metrics"]
    return wire.parse(data[2][0])


def usage_and_limit(metrics):
    memory = wire.parse(metrics[4][0])
    entry = memory if V2 else wire.parse(memory[33][0])
    return (entry[32][0], entry[33][0]) if V2 else (entry[2][0], entry[1][0])


def settled(pod):
    container = pod.run(*EATER)
    until(lambda: "ready" in container.logs(), "it has its memory")
    return container, container.cgroup()


def test_container_stats_are_the_cgroups(pod):
    container, cgroup = settled(pod)
    before = cgroup.cpu_ns()
    stats = until(lambda: (s := container_stats(container)) and s.get("memory") and s, "there are stats")
    assert before <= value(stats, "cpu", "usageCoreNanoSeconds") <= cgroup.cpu_ns()
    told = lambda key: lambda: value(container_stats(container), "memory", key)
    agree(told("usageBytes"), cgroup.memory_usage)
    agree(told("workingSetBytes"), lambda: cgroup.memory_usage() - cgroup.inactive_file())
    agree(told("rssBytes"), cgroup.rss)


def test_cpu_of_a_busy_container_lies_between_two_readings(pod):
    container = pod.run(*BUSY)
    cgroup = container.cgroup()
    first = until(lambda: (s := container_stats(container)) and s.get("cpu") and s, "there are stats")
    low = cgroup.cpu_ns()
    until(lambda: value(container_stats(container), "cpu", "usageCoreNanoSeconds") >= low, "they count on")
    assert value(first, "cpu", "usageCoreNanoSeconds") <= low


def test_pod_stats_before_the_first_container_and_after(pod):
    empty = pod_stats(pod)
    assert value(empty, "cpu", "usageCoreNanoSeconds") == pod.cgroup().cpu_ns()
    assert value(empty, "memory", "usageBytes") == pod.cgroup().memory_usage()
    assert value(empty, "process", "processCount") == 0
    assert empty["network"]["defaultInterface"]["name"] == "eth0"
    settled(pod)
    before = pod.cgroup().cpu_ns()
    stats = pod_stats(pod)
    assert before <= value(stats, "cpu", "usageCoreNanoSeconds") <= pod.cgroup().cpu_ns()
    agree(lambda: value(pod_stats(pod), "memory", "usageBytes"), pod.cgroup().memory_usage)
    assert value(stats, "process", "processCount") == 2
    listed = [s["attributes"]["id"] for s in crictl_json("statsp")["stats"]]
    assert pod.id in listed, "one pod does not spoil the list"


@pytest.mark.skipif(CONTAINERD.startswith("2.1"), reason="containerd 2.1 has no such calls")
def test_cri_metrics_are_the_cgroups(pod):
    container, cgroup = settled(pod)
    described = {d["name"] for d in json.loads(crictl("metricdescs").stdout)["descriptors"]}

    def metrics():
        for p in json.loads(crictl("metricsp").stdout)["podMetrics"]:
            if p["podSandboxId"] == pod.id:
                found = {m["name"]: int(m["value"]["value"]) for c in p["containerMetrics"] for m in c["metrics"] if len(m["labelValues"]) == 5}
                if found.get("container_memory_usage_bytes", 0) > 8 << 20:
                    return p, found
        return None
    p, found = until(metrics, "the container's metrics come")
    names = {m["name"] for m in p["metrics"]} | {m["name"] for c in p["containerMetrics"] for m in c["metrics"]}
    assert names <= described and len(names) >= 30
    agree(lambda: metrics()[1]["container_memory_usage_bytes"], cgroup.memory_usage)
    agree(lambda: metrics()[1]["container_memory_rss"], cgroup.rss)
    if not V2:  # where containerd tells the limit under this name, of whatever runtime
        assert found["container_memory_max_usage_bytes"] <= cgroup.memory_peak()
    assert found["container_cpu_usage_seconds_total"] <= cgroup.cpu_ns() // 10**9
    assert found["container_processes"] == 2
    assert found["container_oom_events_total"] == 0


@pytest.mark.skipif(not CONTAINERD.startswith("2.1"), reason="newer ones have it")
def test_cri_metrics_are_unknown_to_an_old_containerd(pod):
    with pytest.raises(Failed) as refused:
        crictl("metricsp")
    assert "nimplemented" in refused.value.err


def test_controller_metrics_are_the_pods_cgroup(pod):
    empty = controller_metrics(pod)
    pids = 1 if V2 else 2
    assert wire.parse(empty[pids][0]).get(1, [0]) == [0], "pids.current"
    settled(pod)
    before = pod.cgroup().cpu_ns()
    m = controller_metrics(pod)
    cpu = wire.parse(m[2][0])[1][0] * 1000 if V2 else wire.parse(wire.parse(m[3][0])[1][0])[1][0]
    assert before <= cpu <= pod.cgroup().cpu_ns()
    assert wire.parse(m[pids][0])[1] == [pod.cgroup().pids_current()] == [2]
    agree(lambda: usage_and_limit(controller_metrics(pod))[0], pod.cgroup().memory_usage)
    assert usage_and_limit(m)[1] >= 1 << 60 and pod.cgroup().memory_limit() is None
    pod.cgroup().set_memory_limit(96 << 20)
    assert usage_and_limit(controller_metrics(pod))[1] == 96 << 20


def test_controller_metrics_without_a_cgroup_say_so(node):
    pod = node.pod(linux={"cgroup_parent": ""})
    with wire.refused(wire.PRECONDITION, "linux.cgroup_parent"):
        controller_metrics(pod)
    pod.remove()
