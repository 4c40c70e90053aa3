"""Cgroups of pods and containers, for every form of a parent: limits, out of memory, numbers, updates, and nothing
left. What differs between cgroup v1 and v2 is behind node.Cgroup."""

import contextlib
import json
import pathlib
import re
import subprocess
import uuid

import pytest

import node as kuasar
import wire
from node import CONTAINERD, CONTAINERD_SOCKET, V2, Cgroup, Failed, agree, container_weights, crictl, crictl_json, pod_weight, until

LOOP = ["sh", "-c", "while :; do sleep 1; done"]
GROW = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
# Allocates 8 MiB and then only waits (two processes).
EATER = ["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' a); echo ready; sleep 1000 & wait"]
MIB = 1 << 20
needs_2_3 = pytest.mark.skipif(CONTAINERD.startswith("2.1"), reason="not in containerd 2.1")

SLICES = "/kubepods.slice/kubepods-besteffort.slice"


class Form:
    """One way of naming a parent, and where pods and containers are then, without systemd."""

    def __init__(self, name):
        uid = uuid.uuid4().hex
        self.slice = name != "path"
        self.pod = Cgroup(f"{SLICES}/kubepods-besteffort-pod{uid}.slice" if self.slice else f"/kubepods/besteffort/pod{uid}")
        # A kubelet gives a slice by its path.
        self.parent = self.pod.path.rsplit("/", 1)[1] if name == "slice" else self.pod.path

    def below(self, id):
        return self.pod / (f"cri-containerd-{id}.scope" if self.slice else id)


@pytest.fixture(params=["path", "slice", "slice-path"])
def form(request, node):
    """A parent that is not there yet. Afterwards nothing is left but what lies above, which belongs to nobody."""
    before = kuasar.cgroups()
    form = Form(request.param)
    yield form
    node.remove_pods()
    assert not form.pod.exists()
    for above in (SLICES, SLICES.rsplit("/", 1)[0]):
        Cgroup(above).remove()
    assert kuasar.cgroups() - before == set()


def make_pod(node, form, **linux):
    return node.pod(linux={"cgroup_parent": form.parent, **linux})


def controller_metrics(pod):
    metric = wire.parse(wire.parse(wire.controller("Metrics", wire.message((1, pod.id))))[1][0])
    return wire.parse(wire.parse(metric[3][0])[2][0])


def value(stats, *path):
    for key in path:
        stats = stats[key]
    return int(stats["value"])


@contextlib.contextmanager
def containerd_events(node):
    """Topics and contents of what containerd tells, in its order."""
    log = node.dir / "containerd-events"
    with open(log, "wb") as out:
        follower = subprocess.Popen(["ctr", "--namespace", "k8s.io", "events"], stdout=out)

    def seen():
        found = re.findall(r" (/\S+) (\{.*\})$", log.read_text(), re.M)
        return [(topic, json.loads(body)) for topic, body in found]
    try:
        def heard():
            with contextlib.suppress(Failed):
                kuasar.run("ctr", "--namespace", "k8s.io", "images", "label", kuasar.IMAGE, f"heard={uuid.uuid4().hex}")
            return log.stat().st_size
        until(heard, "the follower is connected", step=0.2)
        yield seen
    finally:
        follower.kill()
        follower.wait()


def test_limits(node, form):
    pod = make_pod(node, form, resources={"memory_limit_in_bytes": 96 * MIB, "cpu_shares": 300, "cpu_quota": 60000, "cpu_period": 100000},
                   overhead={"memory_limit_in_bytes": 4 * MIB})
    assert form.pod.limits() == {"memory": 100 * MIB, "weight": pod_weight(300), "quota": 60000, "period": 100000}
    resources = {"memory_limit_in_bytes": 64 * MIB, "cpu_shares": 512, "cpu_quota": 20000, "cpu_period": 50000}
    if V2:
        resources["unified"] = {"pids.max": "77", "memory.high": str(48 * MIB)}
    container = pod.run(*LOOP, linux={"resources": resources})
    own = form.below(container.id)
    assert container.pid() in own.pids()
    limits = own.limits()
    assert limits.pop("weight") in container_weights(512)
    assert limits == {"memory": 64 * MIB, "quota": 20000, "period": 50000}
    if V2:
        assert own.pids_limit() == 77 and int(own.read("", "memory.high")) == 48 * MIB
    assert form.pod.pids() == [], "whoever has children has no process of its own"
    container.exec("true")
    pod.remove()
    assert not form.pod.exists()


@pytest.mark.skipif(not V2, reason="CRI has no field for it, and takes limits by their files' names on version 2 only")
def test_a_limit_of_processes_holds(node, form):
    container = make_pod(node, form).run(*LOOP, linux={"resources": {"unified": {"pids.max": "16"}}})  # runc itself needs some
    assert form.below(container.id).pids_limit() == 16
    crowd = container.exec("sh", "-c", "for i in $(seq 20); do sleep 5 >/dev/null 2>&1 & done", check=False)
    assert "fork" in crowd.stderr and kuasar.exit_code(crowd) != 0, crowd.stderr


@pytest.mark.skipif(not V2, reason="version 1 has one limit for both")
def test_memory_and_swap_are_told_apart(node, form):
    """CRI's and OCI's limit is that of both together, the kernel's of version 2 that of swap alone."""
    resources = {"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 96 * MIB}
    own = form.below(make_pod(node, form).run(*LOOP, linux={"resources": resources}).id)
    if not own.file("memory", "memory.swap.max").exists():
        pytest.skip("this kernel does not count swap")
    assert (own.memory_limit(), int(own.read("", "memory.swap.max"))) == (64 * MIB, 32 * MIB)


def test_out_of_memory(node, form):
    pod = make_pod(node, form)
    with containerd_events(node) as seen:
        container = pod.run(*GROW, linux={"resources": {"memory_limit_in_bytes": 16 * MIB}})
        assert container.wait_exit() == 137
        assert container.status()["reason"] == "OOMKilled"
        mine = lambda: [topic for topic, body in seen() if container.id in (body.get("container_id"), body.get("id"))]
        until(lambda: "/tasks/exit" in mine(), "the exit is told")
        topics = mine()
        assert topics.index("/tasks/oom") < topics.index("/tasks/exit"), topics


def test_a_kill_for_memory_leaves_the_container_alone(node, form):
    """Only the process that ate dies; containerd is told, and told that it was so when the container ends."""
    pod = make_pod(node, form)
    with containerd_events(node) as seen:
        container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 16 * MIB}})
        own = form.below(container.id)
        assert own.oom_kills() == 0
        assert kuasar.exit_code(container.exec(*GROW, check=False)) == 137
        assert own.oom_kills() >= 1
        until(lambda: any(topic == "/tasks/oom" and body["container_id"] == container.id for topic, body in seen()), "it is told")
        assert container.state() == "CONTAINER_RUNNING" and container.exec("echo", "unhurt").stdout == "unhurt\n"


def test_the_pods_limit_holds_for_its_containers_together(node, form):
    pod = make_pod(node, form, resources={"memory_limit_in_bytes": 24 * MIB})
    calm = pod.run(*LOOP)
    greedy = pod.run(*GROW)
    assert greedy.wait_exit() == 137
    assert calm.state() == "CONTAINER_RUNNING"


def test_numbers(node, form):
    pod = make_pod(node, form)
    container = pod.run(*EATER)
    own = form.below(container.id)
    until(lambda: "ready" in container.logs(), "it has its memory")
    before = own.cpu_ns()
    stats = until(lambda: (s := crictl_json("stats", container.id)["stats"][0]) and s.get("memory") and s, "there are stats")
    assert before <= value(stats, "cpu", "usageCoreNanoSeconds") <= own.cpu_ns()
    told = lambda key: lambda: value(crictl_json("stats", container.id)["stats"][0], "memory", key)
    agree(told("usageBytes"), own.memory_usage)
    agree(told("workingSetBytes"), lambda: own.memory_usage() - own.inactive_file())
    before = form.pod.cpu_ns()
    m = controller_metrics(pod)
    cpu = wire.parse(m[2][0])[1][0] * 1000 if V2 else wire.parse(wire.parse(m[3][0])[1][0])[1][0]
    assert before <= cpu <= form.pod.cpu_ns()
    if form.parent.startswith("/"):  # containerd itself reads a pod's cgroup, and knows paths only
        before = form.pod.cpu_ns()
        told = lambda: crictl_json("statsp", "--id", pod.id)["stats"][0]["linux"]
        stats = told()
        assert before <= value(stats, "cpu", "usageCoreNanoSeconds") <= form.pod.cpu_ns()
        agree(lambda: value(told(), "memory", "usageBytes"), form.pod.memory_usage)
        assert value(stats, "process", "processCount") == 2


def test_updates(node, form):
    pod = make_pod(node, form, resources={"memory_limit_in_bytes": 96 * MIB})
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB}})
    own = form.below(container.id)
    crictl("update", "--memory", 80 * MIB, "--cpu-period", 50000, "--cpu-quota", 20000, container.id)
    assert (own.memory_limit(), own.cpu_quota()) == (80 * MIB, (20000, 50000))
    node.restart_sandboxer()
    kuasar.Node.retry_unavailable(lambda: crictl("inspectp", pod.id))
    if not CONTAINERD.startswith("2.1"):
        more = wire.message((1, 50000), (2, 25000), (3, 700), (4, 128 * MIB))
        with wire.Grpc(CONTAINERD_SOCKET) as g:
            g.call("UpdatePodSandboxResources", wire.message((1, pod.id), (3, more)), service="runtime.v1.RuntimeService")
        assert form.pod.limits() == {"memory": 128 * MIB, "weight": pod_weight(700), "quota": 25000, "period": 50000}
    assert own.memory_limit() == 80 * MIB


def test_the_init_of_a_shared_pid_namespace_lies_beside_the_containers(node, form):
    pod = make_pod(node, form, security_context={"namespace_options": {"pid": 0}})
    container = pod.run(*LOOP, linux={"security_context": {"namespace_options": {"pid": 0}}})
    init, own = form.below(pod.id), form.below(container.id)
    assert len(init.pids()) == 1 and container.pid() in own.pids() and form.pod.pids() == []
    assert pathlib.Path(f"/proc/{init.pids()[0]}/comm").read_text().startswith("kuasar-pod")
    container.stop(grace=0)
    container.remove()
    until(lambda: not own.exists(), "the container's cgroup goes with it")
    assert init.exists()


def test_without_a_parent_containers_have_cgroups_of_their_own(node):
    pod = node.pod(linux={"cgroup_parent": ""})
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB}})
    own = Cgroup(f"/k8s.io/{container.id}")  # containerd's choice
    assert container.pid() in own.pids() and own.memory_limit() == 64 * MIB
    stats = until(lambda: (s := crictl_json("stats", container.id)["stats"][0]) and s.get("memory") and s, "there are stats")
    assert value(stats, "memory", "usageBytes") > 0
    pod.remove()
    assert not own.exists()
    Cgroup("/k8s.io").remove()


def test_frozen_and_forking_containers_end(node, form):
    pod = make_pod(node, form)
    frozen = pod.run(*LOOP)
    pod.run("sh", "-c", "trap '' TERM; while :; do sleep 100 & sleep 0.2; done")
    kuasar.run("ctr", "--namespace", "k8s.io", "task", "pause", frozen.id)
    assert frozen.info()["pid"] in form.below(frozen.id).pids()
    pod.stop()
    until(lambda: not form.pod.exists(), "nothing is left")


def test_a_container_that_cannot_start_leaves_no_cgroup(node, form):
    pod = make_pod(node, form)
    container = pod.create("/does/not/exist")
    with pytest.raises(Failed, match="/does/not/exist"):
        container.start()
    container.remove()
    assert not form.below(container.id).exists() and form.pod.exists()


def test_containers_of_a_dead_task_server_leave_no_cgroup(node, form):
    pod = make_pod(node, form)
    container = pod.run(*EATER)
    own = form.below(container.id)
    assert own.exists()
    server = node.task_pid()
    kuasar.run("kill", "-KILL", server)
    until(lambda: not own.exists(), "its successor ends what it finds")


def test_crun(node, form):
    node.restart_daemons("--config", node.write("crun.toml", 'runtime = "crun"\n'))
    try:
        pod = make_pod(node, form)
        container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 * MIB, "cpu_quota": 20000, "cpu_period": 50000}})
        own = form.below(container.id)
        assert container.pid() in own.pids()
        assert (own.memory_limit(), own.cpu_quota()) == (64 * MIB, (20000, 50000))
        crictl("update", "--memory", 80 * MIB, container.id)
        assert own.memory_limit() == 80 * MIB
        greedy = pod.run(*GROW, linux={"resources": {"memory_limit_in_bytes": 16 * MIB}})
        assert greedy.wait_exit() == 137
        assert greedy.status()["reason"] == "OOMKilled"
        pod.remove()
        assert not form.pod.exists()
    finally:
        node.restart_daemons()


@needs_2_3
def test_runcs_option_of_systemd_does_no_harm_without_systemd(node, form):
    """A node whose containerd was set up for systemd's driver, and that has none."""
    with node.handler("kuasar-systemd", "SystemdCgroup = true") as name:
        pod = node.pod(handler=name, linux={"cgroup_parent": form.parent})
        container = pod.run(*LOOP)
        assert container.pid() in form.below(container.id).pids()


@needs_2_3
@pytest.mark.parametrize("driver", [True, False])
def test_with_systemd_the_runtime_asks_it_if_it_is_told_to(node, form, driver):
    """There is no systemd on this node: a stand-in for its sign, and for a runtime, which tells what it was told."""
    runtime, told = pathlib.Path(node.write("runtime", f"""#!/bin/sh
        case " $* " in *" create "*) ;; *) exit 0 ;; esac
        echo "$*" >{node.dir}/told
        while [ "$1" != --bundle ]; do shift; done
        cp "$2/config.json" {node.dir}/told.json
        exit 33
        """)), node.dir / "told"
    runtime.chmod(0o755)
    sign = pathlib.Path("/run/systemd/system")
    sign.mkdir(parents=True)
    try:
        node.restart_daemons()
        with node.handler("kuasar-systemd", f"SystemdCgroup = {str(driver).lower()}\nBinaryName = \"{runtime}\"") as name:
            pod = node.pod(handler=name, linux={"cgroup_parent": form.parent})
            container = pod.create(*LOOP)
            with pytest.raises(Failed, match="exit status 33"):
                container.start()
        assert ("--systemd-cgroup" in told.read_text().split()) == driver
        path = json.loads((node.dir / "told.json").read_text())["linux"]["cgroupsPath"]
        unit = f"{form.pod.path.rsplit('/', 1)[1]}:cri-containerd:{container.id}"
        assert path == (unit if form.slice and driver else form.below(container.id).path)
    finally:
        sign.rmdir()
        sign.parent.rmdir()
        node.restart_daemons()
