"""Hundreds of pods at the same time on one small machine."""

import concurrent.futures
import itertools
import os
import pathlib
import sys

import pytest

import node as kuasar
import programs

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))

import cri  # noqa: E402

# A sanitizer makes each take several times as long.
PODS = 500 if os.environ.get("KUASAR_PRESET") != "asan" else 100
WORKERS = 4

if kuasar.KIND == "wasm":
    COMMAND = programs.WAIT

    def running():
        return len(kuasar.pids_of("wasm-worker"))

    def found(pod):
        """A module sees nothing of cgroups: its worker is looked for in the container's, and an exec has its code."""
        cgroup = kuasar.Cgroup(f"{pod.config.linux.cgroup_parent}/{pod.container}")
        return len(cgroup.pids()) == 1 and pod.exec(*programs.leave(7)).exit_code == 7
else:
    COMMAND = ["sleep", "3600"]

    def running():
        return list(kuasar.processes().values()).count("sleep 3600")

    def found(pod):
        answer = pod.exec("cat", "/proc/self/cgroup")
        return answer.exit_code == 0 and pod.container in answer.stdout.decode()


@pytest.mark.any_containerd
def test_hundreds_of_pods(node, tmp_path):
    """All run at once, an exec finds itself in each one's cgroup, all go, and nothing is left of them."""
    node.remove_pods()
    image = programs.image()
    handlers = itertools.islice(programs.HANDLERS, PODS)
    before = kuasar.census()
    client = cri.Client()
    pods = [cri.Pod(client, cri.Kind(handler, (), image, COMMAND), tmp_path) for handler in handlers]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        try:
            list(pool.map(lambda pod: pod.run().create().start(), pods))
            told = kuasar.crictl("ps", "-q", "--no-trunc", "--state", "running").stdout.split()
            assert sorted(told) == sorted(pod.container for pod in pods)
            assert running() == PODS, "one process a pod"
            lost = [pod.id for pod, good in zip(pods, pool.map(found, pods)) if not good]
            assert not lost, f"no exec in {lost}"
        finally:
            list(pool.map(lambda pod: pod.end(), pods))
    kuasar.Cgroup("/bench").remove()  # the parent of the pods' cgroups is a kubelet's to remove
    kuasar.nothing_left(before, timeout=60)
