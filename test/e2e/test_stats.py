"""Stats of containers and pods, by CRI and by Controller.Metrics: what the cgroup files say."""

import json
import pathlib
import re

import pytest

import wire
from node import CONTAINERD, Failed, crictl, crictl_json, until

# Allocates 8 MiB and then only waits (two processes).
EATER = ["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' a); echo ready; sleep 1000 & wait"]
BUSY = ["sh", "-c", "while :; do :; done"]
PAGES = 64 << 10  # how far per-cpu counters of memory may be off


def v1(controller, cgroup, name):
    return (pathlib.Path("/sys/fs/cgroup") / controller / cgroup.lstrip("/") / name).read_text()


def cpu_ns(cgroup):
    return int(v1("cpuacct", cgroup, "cpuacct.usage"))


def memory_stat(cgroup, key):
    return int(re.search(rf"^{key} (\d+)$", v1("memory", cgroup, "memory.stat"), re.M)[1])


def parent(pod):
    return pod.config["linux"]["cgroup_parent"]


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
    assert data[1] == [b"io.containerd.cgroups.v1.Metrics"]
    return wire.parse(data[2][0])


def settled(pod):
    container = pod.run(*EATER)
    until(lambda: "ready" in container.logs(), "it has its memory")
    return container, f"{parent(pod)}/{container.id}"


def test_container_stats_are_the_cgroups(pod):
    container, cgroup = settled(pod)
    before = cpu_ns(cgroup)
    stats = until(lambda: (s := container_stats(container)) and s.get("memory") and s, "there are stats")
    assert before <= value(stats, "cpu", "usageCoreNanoSeconds") <= cpu_ns(cgroup)
    usage = int(v1("memory", cgroup, "memory.usage_in_bytes"))
    assert abs(value(stats, "memory", "usageBytes") - usage) <= PAGES
    assert abs(value(stats, "memory", "workingSetBytes") - (usage - memory_stat(cgroup, "total_inactive_file"))) <= PAGES
    assert abs(value(stats, "memory", "rssBytes") - memory_stat(cgroup, "total_rss")) <= PAGES


def test_cpu_of_a_busy_container_lies_between_two_readings(pod):
    container = pod.run(*BUSY)
    cgroup = f"{parent(pod)}/{container.id}"
    first = until(lambda: (s := container_stats(container)) and s.get("cpu") and s, "there are stats")
    low = cpu_ns(cgroup)
    until(lambda: value(container_stats(container), "cpu", "usageCoreNanoSeconds") >= low, "they count on")
    assert value(first, "cpu", "usageCoreNanoSeconds") <= low


def test_pod_stats_before_the_first_container_and_after(pod):
    empty = pod_stats(pod)
    assert value(empty, "cpu", "usageCoreNanoSeconds") == cpu_ns(parent(pod))
    assert value(empty, "memory", "usageBytes") == int(v1("memory", parent(pod), "memory.usage_in_bytes"))
    assert value(empty, "process", "processCount") == 0
    assert empty["network"]["defaultInterface"]["name"] == "eth0"
    settled(pod)
    before = cpu_ns(parent(pod))
    stats = pod_stats(pod)
    assert before <= value(stats, "cpu", "usageCoreNanoSeconds") <= cpu_ns(parent(pod))
    usage = int(v1("memory", parent(pod), "memory.usage_in_bytes"))
    assert abs(value(stats, "memory", "usageBytes") - usage) <= PAGES
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
    usage = int(v1("memory", cgroup, "memory.usage_in_bytes"))
    assert abs(found["container_memory_usage_bytes"] - usage) <= PAGES
    assert abs(found["container_memory_rss"] - memory_stat(cgroup, "total_rss")) <= PAGES
    assert found["container_memory_max_usage_bytes"] <= int(v1("memory", cgroup, "memory.max_usage_in_bytes"))
    assert found["container_cpu_usage_seconds_total"] <= cpu_ns(cgroup) // 10**9
    assert found["container_processes"] == 2
    assert found["container_oom_events_total"] == 0


@pytest.mark.skipif(not CONTAINERD.startswith("2.1"), reason="newer ones have it")
def test_cri_metrics_are_unknown_to_an_old_containerd(pod):
    with pytest.raises(Failed) as refused:
        crictl("metricsp")
    assert "nimplemented" in refused.value.err


def test_controller_metrics_are_the_pods_cgroup(pod):
    empty = controller_metrics(pod)
    assert wire.parse(empty[2][0]).get(1, [0]) == [0], "pids.current"
    settled(pod)
    before = cpu_ns(parent(pod))
    m = controller_metrics(pod)
    cpu = wire.parse(wire.parse(m[3][0])[1][0])[1][0]
    assert before <= cpu <= cpu_ns(parent(pod))
    assert wire.parse(m[2][0])[1] == [int(v1("pids", parent(pod), "pids.current"))] == [2]
    memory = wire.parse(m[4][0])
    usage = wire.parse(memory[33][0])
    assert abs(usage[2][0] - int(v1("memory", parent(pod), "memory.usage_in_bytes"))) <= PAGES
    assert usage[1] == [int(v1("memory", parent(pod), "memory.limit_in_bytes"))]


def test_controller_metrics_without_a_cgroup_say_so(node):
    pod = node.pod(linux={"cgroup_parent": ""})
    with wire.refused(wire.PRECONDITION, "linux.cgroup_parent"):
        controller_metrics(pod)
    pod.remove()
