"""Calls of the Sandbox Controller that CRI does not make (yet), and health, on a living pod."""

import node as kuasar
import wire
from node import V2, until


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
