"""Hundreds of pods at the same time on one small machine."""

import concurrent.futures
import os
import pathlib
import sys

import node as kuasar

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))

import cri  # noqa: E402

# A sanitizer makes each take several times as long.
PODS = 500 if os.environ.get("KUASAR_PRESET") != "asan" else 100
WORKERS = 4


def test_hundreds_of_pods(node, tmp_path):
    """All run at once, an exec finds itself in each one's cgroup, all go, and nothing is left of them."""
    node.remove_pods()
    before = kuasar.census()
    client = cri.Client()
    pods = [cri.Pod(client, kuasar.HANDLER, tmp_path) for _ in range(PODS)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        try:
            list(pool.map(lambda pod: pod.run().create("sleep", "3600").start(), pods))
            running = kuasar.crictl("ps", "-q", "--no-trunc", "--state", "running").stdout.split()
            assert sorted(running) == sorted(pod.container for pod in pods)
            assert list(kuasar.processes().values()).count("sleep 3600") == PODS, "one process a pod"
            for pod, answer in zip(pods, pool.map(lambda pod: pod.exec("cat", "/proc/self/cgroup"), pods)):
                assert answer.exit_code == 0 and pod.container in answer.stdout.decode(), f"pod {pod.id}: {answer}"
        finally:
            list(pool.map(lambda pod: pod.end(), pods))
    kuasar.Cgroup("/bench").remove()  # the parent of the pods' cgroups is a kubelet's to remove
    kuasar.nothing_left(before, timeout=60)
