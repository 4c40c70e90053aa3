"""What plugins of containerd's Node Resource Interface see of our pods: the same as of those with containerd's own shim."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile

import pytest

import node as kuasar
from node import HANDLER, STATE, until
from test_userns import Users

LOG = "/opt/nri/bin/nri-log"
LOOP = ["sh", "-c", "while :; do sleep 1; done"]


class Plugin:
    def __init__(self, process, out):
        self.process, self.out = process, out

    def events(self):
        self.out.seek(0)
        return [json.loads(line) for line in self.out.read().splitlines()]

    def seen(self, event, pod):
        """The first of these events of a pod."""
        return next((e for e in self.events() if e["event"] == event and e.get("pod", {}).get("id") == pod.id), None)

    def wait(self, event, pod):
        return until(lambda: self.seen(event, pod), f"the plugin is told: {event}")


@contextlib.contextmanager
def registered():
    with tempfile.TemporaryFile("w+") as out, subprocess.Popen([LOG], stdout=out, stderr=subprocess.DEVNULL) as process:
        plugin = Plugin(process, out)
        with contextlib.ExitStack() as stack:
            stack.callback(process.terminate)
            until(lambda: any(e["event"] == "synchronized" for e in plugin.events()), "the plugin is registered")
            yield plugin


@pytest.fixture
def plugin(node):
    with registered() as plugin:
        yield plugin


# containerd 2.1 takes no spec from a sandboxer, so it has nothing to tell of namespaces.
OLD = kuasar.CONTAINERD.startswith("2.1")


def namespaces(pod):
    return {n["type"]: n.get("path", "") for n in pod["linux"]["namespaces"]}


@pytest.mark.parametrize("handler", ["runc", HANDLER])
def test_a_pod_and_its_containers(node, plugin, handler):
    pod = node.pod(handler, hostname="seen", labels={"color": "blue"}, annotations={"io.kuasar.test": "yes"})
    seen = plugin.wait("run", pod)["pod"]
    assert seen["runtime_handler"] == handler and seen["namespace"] == "e2e"
    assert seen["labels"]["color"] == "blue" and seen["annotations"]["io.kuasar.test"] == "yes"
    assert seen["linux"]["cgroup_parent"] == pod.config["linux"]["cgroup_parent"]
    if handler == "runc" or not OLD:
        assert {"network", "ipc", "uts"} <= namespaces(seen).keys()
    container = pod.run(*LOOP)
    made = plugin.wait("create", pod)
    assert made["container"]["id"] == container.id and made["container"]["pod_sandbox_id"] == pod.id
    assert made["container"]["args"] == LOOP
    assert plugin.wait("start", pod)["container"]["id"] == container.id
    # What a plugin changes is what is run.
    assert container.exec("sh", "-c", "echo $NRI").stdout == "was here\n"
    container.stop(grace=0)
    assert plugin.wait("end", pod)["container"]["id"] == container.id
    pod.stop()
    plugin.wait("stop", pod)
    pod.remove()
    plugin.wait("remove", pod)


@pytest.mark.skipif(OLD, reason="containerd 2.1 tells nothing of a sandboxer's namespaces")
def test_the_namespaces_are_those_of_the_pod(node, plugin):
    pod = node.pod()
    seen = namespaces(plugin.wait("run", pod)["pod"])
    container = pod.run(*LOOP)
    for kind, link in (("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
        assert os.stat(seen[kind]).st_ino == os.stat(f"/proc/{container.pid()}/ns/{link}").st_ino, kind
    assert seen["ipc"].endswith(f"{STATE}/sandboxes/{pod.id}/ns/ipc")


@pytest.mark.skipif(OLD, reason="containerd 2.1 tells nothing of a sandboxer's namespaces")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_they_stay_so_after_a_restart_of_the_sandboxer(node, plugin, how):
    """containerd keeps what it was told at the pod's start, and tells that."""
    users = Users(node, {"pid": 0})
    pod, container = users.pod, users.run(*LOOP)
    node.restart_sandboxer(how)
    users.run(*LOOP)
    seen = [namespaces(plugin.wait(event, pod)["pod"]) for event in ("run", "create")]
    with registered() as later:
        seen.append(namespaces(later.seen("present", pod)["pod"]))
    for told in seen:
        for kind, link in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("user", "user"), ("pid", "pid")):
            assert os.stat(told[kind]).st_ino == os.stat(f"/proc/{container.pid()}/ns/{link}").st_ino, kind


def test_a_plugin_that_comes_later_is_told_of_the_pods(node):
    pod = node.pod()
    with registered() as plugin:
        assert plugin.seen("present", pod)["pod"]["runtime_handler"] == kuasar.HANDLER
