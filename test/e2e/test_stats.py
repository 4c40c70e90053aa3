"""Stats of containers and pods, by CRI and by Controller.Metrics: what the cgroup files say, and all that is told of a
pod of containerd's own handler."""

import json
import os
import pathlib
import socket

import pytest

import wire
from node import CONTAINERD, HANDLER, V2, Failed, agree, crictl, crictl_json, run, until

# Allocates 8 MiB and then only waits (two processes).
EATER = ["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' a); echo ready; sleep 1000 & wait"]
BUSY = ["sh", "-c", "while :; do :; done"]
MIB = 1 << 20
OLD = CONTAINERD.startswith("2.1")
metrics_calls = pytest.mark.skipif(OLD, reason="containerd 2.1 has no such calls")


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


@metrics_calls
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


@pytest.mark.skipif(not OLD, reason="newer ones have it")
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


# ---- work that leaves no number at 0, and then rests ----------------------------------------------

LIMITED = {"linux": {"resources": {"cpu_period": 100000, "cpu_quota": 40000, "memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 96 * MIB}}}
# A program that takes more memory than there is; three seconds in the program and two in the kernel, within the quota; a
# page cache as large as the limit, of a file of holes; 8 MiB of memory, two files and a socket that stay. Not every
# kernel counts the direct write: version 1 does where somebody limits it, and there may be no disk. Three processes are
# left.
WORK = ["sh", "-c", r"""
dd if=/dev/zero of=/dev/null bs=100M count=1
(ulimit -t 3; while :; do :; done) &
(ulimit -t 2; exec dd if=/dev/zero of=/dev/null bs=64k) &
wait
truncate -s 80M /holes
cat /holes >/dev/null
x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\0' a)
dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null
dd if=/dev/zero of=/direct oflag=direct bs=1M count=2 2>/dev/null
nc -ll -p 7777 -e cat &
until grep -q :1E61 /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done
sleep 1000 &
echo ready
wait"""]


def work(pod):
    return pod.run(*WORK, **LIMITED)


def worked(container):
    until(lambda: "ready" in container.logs(), "the work is done", 120)
    return container


def pod_metrics(pod):
    return next(p for p in json.loads(crictl("metricsp").stdout)["podMetrics"] if p["podSandboxId"] == pod.id)


def numbers(metrics):
    """(name, what its labels say more than pod, namespace, container, id and image) -> the number"""
    return {(m["name"], *m["labelValues"][5:]): int(m["value"]["value"]) for m in metrics}


# ---- as of a pod of containerd's own handler ------------------------------------------------------

LUCK = "what the page cache has held before, and on which of its lists the kernel keeps a page"
DIFFERENT = {  # whether there is a number, and whether it is 0
    "majorPageFaults": LUCK,
    "container_memory_failures_total pgmajfault container": LUCK,
    "container_memory_total_active_file_bytes": LUCK,
    "container_memory_total_inactive_file_bytes": LUCK,
    "container_memory_mapped_file": LUCK,
}
# Numbers that are those of the work, to the last one.
SAME = {"container_processes", "container_threads", "container_threads_max", "container_file_descriptors", "container_sockets",
        "container_ulimits_soft", "container_spec_cpu_period", "container_spec_cpu_shares", "container_spec_memory_limit_bytes",
        "container_spec_memory_swap_limit_bytes", "container_spec_memory_reservation_limit_bytes", "container_oom_events_total",
        "processCount"}
# container_fs_limit_bytes and container_fs_inodes_free are of what containerd sees where it asked for the rootfs to be
# mounted. Of stock pods that is the rootfs; ours are mounted where only the daemons see them.


def shape(value, path=""):
    """Path of each leaf of a JSON value -> a number of SAME, or whether there is something."""
    name = path.rpartition(".")[2]
    if isinstance(value, dict) and set(value) == {"value"}:
        return {path: int(value["value"]) if name in SAME else int(value["value"]) != 0}
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {leaf: at for key, inner in items for leaf, at in shape(inner, f"{path}.{key}").items()} or {path: "empty"}
    return {path: value not in ("", "0", 0, None)}


def shape_of_metrics(pod):
    told = pod_metrics(pod)
    own, of_containers = told.pop("metrics"), told.pop("containerMetrics")
    found = shape(told)
    for metrics in (own, *(c["metrics"] for c in of_containers)):
        for m in metrics:
            key = " ".join((m["name"], *m["labelValues"][5:]))
            assert key not in found, f"{key}: told twice"
            n = int(m["value"]["value"])
            found[key] = (m["metricType"], len(m["labelValues"]), n if m["name"] in SAME else n != 0)
    return found


def differences(ours, stock):
    allowed = lambda path: any(path == name or f".{name}" in path for name in DIFFERENT)
    return {path: (ours.get(path, "absent"), stock.get(path, "absent")) for path in {**ours, **stock}
            if ours.get(path, "absent") != stock.get(path, "absent") and not (allowed(path) and path in ours and path in stock)}


def sampled(pod, container):
    """Its stats, when containerd has looked often enough: at the cpu twice, at the container's files after the work. (The
    old one has no such number of pods.)"""
    def ready():
        stats, of_pod = container_stats(container), pod_stats(pod)
        cpus = [s["cpu"] for s in (stats, *of_pod["containers"], *([] if OLD else [of_pod]))]
        files = int(stats["writableLayer"]["usedBytes"]["value"])
        return files >= 3 * MIB and all("usageNanoCores" in cpu for cpu in cpus) and (stats, of_pod)
    return until(ready, "containerd has its samples", 40, 0.5)


@pytest.fixture
def both(node):
    pods = [node.pod(handler=handler) for handler in (HANDLER, "runc")]
    containers = [work(pod) for pod in pods]
    for container in containers:
        worked(container)
    return list(zip(pods, containers))


def idle(stats):
    """Of a container at rest, the cpu's use per second may be something or nothing."""
    for part in (stats, *stats.get("containers", [])):
        if "usageNanoCores" in part["cpu"]:
            part["cpu"]["usageNanoCores"] = {"value": 0}
    return stats


def test_all_is_told_that_stock_pods_tell(both):
    ours, stock = [[shape(idle(stats)) for stats in sampled(pod, container)] for pod, container in both]
    assert differences(ours[0], stock[0]) == {}, "stats: ours, stock"
    assert differences(ours[1], stock[1]) == {}, "statsp: ours, stock"
    if OLD:
        return
    described = {d["name"]: len(d["labelKeys"]) for d in json.loads(crictl("metricdescs").stdout)["descriptors"]}
    ours, stock = [shape_of_metrics(pod) for pod, _ in both]
    assert differences(ours, stock) == {}, "metricsp: ours, stock"
    for key, told in ours.items():
        if isinstance(told, tuple):
            assert described[key.split(" ")[0]] == told[1], f"{key}: the described labels"
    for pod, container in both:
        of_pod, name = pod.config["metadata"], container.status()["metadata"]["name"]
        labels = {tuple(m["labelValues"][:5]) for m in pod_metrics(pod)["containerMetrics"][0]["metrics"]}
        assert labels == {(of_pod["name"], of_pod["namespace"], name, container.id, "localhost/kuasar/busybox:test")}


# ---- the pod's network ----------------------------------------------------------------------------


def exchange(pod, size):
    """Sends so many bytes to what echoes in the pod, and takes them back."""
    with socket.create_connection((pod.ip(), 7777), timeout=20) as s:
        for _ in range(size // 16384):
            s.sendall(bytes(16384))
            left = 16384
            while left:
                left -= len(s.recv(left)) or pytest.fail("the echo has ended")


def interface(pod):
    """Counters of eth0, as a program in the pod's network namespace reads them."""
    stats = json.loads(run("nsenter", f"--net={pod.netns()}", "ip", "-s", "-j", "link", "show", "eth0").stdout)[0]["stats64"]
    return {f"{way}_{what}": stats[way][what] for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")}


def between(low, told, high):
    """Counters that only grow: every one lies between a reading before and one after."""
    assert set(told) <= set(low) and told, f"{set(told) - set(low)} have no reading"
    wrong = {key: (low[key], told[key], high[key]) for key in told if not low[key] <= told[key] <= high[key]}
    assert not wrong, f"before, told, after: {wrong}"


def test_the_pods_network_is_its_interfaces(pod):
    pod.run("nc", "-ll", "-p", "7777", "-e", "cat")
    until(lambda: ":1E61" in run("nsenter", f"--net={pod.netns()}", "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout, "it listens")
    exchange(pod, MIB)
    low = interface(pod)
    network = pod_stats(pod)["network"]
    assert network["interfaces"] == ([] if OLD else [network["defaultInterface"]]) and network["defaultInterface"]["name"] == "eth0"
    told = {f"{way}_{what}": value(network["defaultInterface"], f"{way}{what.capitalize()}") for way in ("rx", "tx") for what in ("bytes", "errors")}
    between(low, told, interface(pod))
    assert told["rx_bytes"] >= MIB and told["tx_bytes"] >= MIB
    if OLD:
        return
    names = {"rx": "receive", "tx": "transmit"}
    kinds = {"bytes": "bytes", "packets": "packets", "errors": "errors", "dropped": "packets_dropped"}
    low, told = interface(pod), numbers(pod_metrics(pod)["metrics"])
    told = {f"{way}_{what}": told[(f"container_network_{names[way]}_{kinds[what]}_total", "eth0")] for way in names for what in kinds}
    between(low, told, interface(pod))
    assert told["rx_packets"] > 64 and told["tx_packets"] > 64


# ---- a container's metrics ------------------------------------------------------------------------


def counters(cgroup):
    """What only grows, by the name of the metric: cgroup v1."""
    ticks = os.sysconf("SC_CLK_TCK")
    cpu, acct = cgroup.keyed("cpu", "cpu.stat"), cgroup.keyed("cpuacct", "cpuacct.stat")
    memory = cgroup.keyed("memory", "memory.stat")
    return {
        "container_cpu_usage_seconds_total": cgroup.cpu_ns() // 10**9,
        "container_cpu_user_seconds_total": acct["user"] // ticks,
        "container_cpu_system_seconds_total": acct["system"] // ticks,
        "container_cpu_cfs_periods_total": cpu["nr_periods"],
        "container_cpu_cfs_throttled_periods_total": cpu["nr_throttled"],
        "container_cpu_cfs_throttled_seconds_total": cpu["throttled_time"] // 10**9,
        "container_memory_max_usage_bytes": cgroup.memory_peak(),
        "container_memory_failcnt": int(cgroup.read("memory", "memory.failcnt")),
        "container_memory_failures_total pgfault container": memory["pgfault"],
        "container_memory_failures_total pgmajfault container": memory["pgmajfault"],
        "container_oom_events_total": cgroup.oom_kills(),
    }


def counters_v2(cgroup):
    """containerd tells the limit as what was used most, and knows no failures."""
    cpu, memory = cgroup.keyed("", "", "cpu.stat"), cgroup.keyed("", "", "memory.stat")
    return {
        "container_cpu_usage_seconds_total": cpu["usage_usec"] // 10**6,
        "container_cpu_user_seconds_total": cpu["user_usec"] // 10**6,
        "container_cpu_system_seconds_total": cpu["system_usec"] // 10**6,
        "container_cpu_cfs_periods_total": cpu["nr_periods"],
        "container_cpu_cfs_throttled_periods_total": cpu["nr_throttled"],
        "container_cpu_cfs_throttled_seconds_total": cpu["throttled_usec"] // 10**6,
        "container_memory_max_usage_bytes": cgroup.memory_limit(),
        "container_memory_failcnt": 0,
        "container_memory_failures_total pgfault container": memory["pgfault"],
        "container_memory_failures_total pgmajfault container": memory["pgmajfault"],
        "container_oom_events_total": cgroup.oom_kills(),
    }


def gauges(cgroup):
    """What the kernel keeps about so, by the name of the metric."""
    memory, used = cgroup.keyed("memory", "memory.stat"), cgroup.memory_usage()
    total = (lambda key: memory[key]) if V2 else (lambda key: memory[f"total_{key}"])
    return {
        "container_memory_usage_bytes": used,
        "container_memory_working_set_bytes": used - cgroup.inactive_file(),
        "container_memory_rss": cgroup.rss(),
        "container_memory_cache": total("file" if V2 else "cache"),
        "container_memory_mapped_file": total("file_mapped" if V2 else "mapped_file"),
        "container_memory_total_active_file_bytes": total("active_file"),
        "container_memory_total_inactive_file_bytes": total("inactive_file"),
        "container_memory_kernel_usage": memory["kernel_stack"] if V2 else int(cgroup.read("memory", "memory.kmem.usage_in_bytes")),
        # memory and swap on version 1
        "container_memory_swap": int(cgroup.read("memory", "memory.memsw.usage_in_bytes", "memory.swap.current")),
    }


def descriptors(cgroup):
    """(open files, sockets) of its processes"""
    links = [os.readlink(fd) for pid in cgroup.pids() for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
    return len(links), sum(link.startswith("socket:") for link in links)


def disk_v1(cgroup):
    """blkio's lines, by the names and labels of the metrics."""
    lines = lambda of: [l.split() for l in cgroup.read("blkio", f"blkio.throttle.{of}_recursive").splitlines() if ":" in l]
    devices = {f"{f[0]}:{f[1]}": f"/dev/{f[3]}" for f in map(str.split, pathlib.Path("/proc/partitions").read_text().splitlines()[2:])}
    found = {}
    for device, op, n in lines("io_service_bytes"):
        found[("container_blkio_device_usage_total", devices.get(device, ""), *device.split(":"), op)] = int(n)
        if op in ("Read", "Write"):
            found[(f"container_fs_{op.lower()}s_bytes_total", devices.get(device, ""))] = int(n)
    for device, op, n in lines("io_serviced"):
        if op in ("Read", "Write"):
            found[(f"container_fs_{op.lower()}s_total", devices.get(device, ""))] = int(n)
    return found


def disk_v2(cgroup):
    """io.stat's, likewise."""
    found = {}
    for line in cgroup.read("", "", "io.stat").splitlines():
        device, *pairs = line.split()
        for key, n in (pair.split("=") for pair in pairs):
            if key[0] in "rw":
                name = f"container_fs_{'reads' if key[0] == 'r' else 'writes'}{'_bytes' if key.endswith('bytes') else ''}_total"
                found[(name, device)] = int(n)
    return found


def is_disk(key):
    return key[0].startswith(("container_blkio_", "container_fs_reads", "container_fs_writes"))


MAY_BE_0 = {"container_memory_failures_total pgmajfault container"}
if V2:
    MAY_BE_0.add("container_memory_failcnt")
if os.environ.get("KUASAR_KERNEL") == "uml":  # nearly all time is the program's there
    MAY_BE_0.add("container_cpu_system_seconds_total")


@metrics_calls
def test_metrics_of_a_container_that_has_worked(pod):
    container = worked(work(pod))
    cgroup = container.cgroup()
    read = counters_v2 if V2 else counters
    low, told, high = read(cgroup), numbers(pod_metrics(pod)["containerMetrics"][0]["metrics"]), read(cgroup)
    plain = {" ".join(key): n for key, n in told.items()}
    between(low, {key: plain[key] for key in low}, high)
    zero = {key for key in low if not plain[key]}
    assert zero <= MAY_BE_0, f"after the work: {plain}"
    # Resting, they are the files' to the byte but for what the kernel gives back late.
    for key in gauges(cgroup):
        agree(lambda: numbers(pod_metrics(pod)["containerMetrics"][0]["metrics"])[(key,)], lambda: gauges(cgroup)[key], key)
    assert plain["container_memory_rss"] >= 8 * MIB and plain["container_memory_cache"] >= 3 * MIB
    assert plain["container_memory_kernel_usage"] and plain["container_memory_working_set_bytes"]
    assert V2 or plain["container_memory_swap"] >= 8 * MIB
    # processes
    assert plain["container_processes"] == cgroup.pids_current() == 3
    assert plain.get("container_threads") == (3 if V2 else None)
    assert plain["container_threads_max"] == (cgroup.pids_limit() or ((1 << 64) - 1 if V2 else 0))
    assert (plain["container_file_descriptors"], plain["container_sockets"]) == descriptors(cgroup)
    assert plain["container_sockets"] >= 1
    # files
    found = [p.lstat() for p in (container.upper(), *container.upper().rglob("*"))]
    assert plain["container_fs_usage_bytes /"] == sum(s.st_blocks * 512 for s in found) >= 3 * MIB
    assert plain["container_fs_inodes_total /"] == len({s.st_ino for s in found}) >= 3
    # disks
    assert {key: n for key, n in told.items() if is_disk(key)} == (disk_v2 if V2 else disk_v1)(cgroup)


@metrics_calls
def test_metrics_tell_limits_that_are_set(pod):
    container = pod.run("sleep", "1000", **LIMITED)
    container.cgroup().file("pids", "pids.max").write_text("55")
    plain = numbers(pod_metrics(pod)["containerMetrics"][0]["metrics"])
    assert plain[("container_threads_max",)] == 55
    assert plain[("container_spec_memory_limit_bytes",)] == 64 * MIB
    assert plain[("container_spec_cpu_period",)] == 100000
