"""Things die and come back: containerd, the sandboxer, the task server."""

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import events
import node as kuasar
import programs
from node import STATE, V2, Failed, crictl, until
from programs import WAIT, answers, leave
from test_metrics import curl as metrics

EVENTS_SOCKET = f"{kuasar.CONTAINERD_SOCKET}.ttrpc"


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_containerd_restarts_under_ten_pods(node, how, tmp_path):
    pods = [node.pod() for _ in range(10)]
    script = "i=0; while [ ! -e /told/stop$0 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 6"
    told = {"host_path": str(tmp_path), "container_path": "/told"}
    containers = [p.run("sh", "-c", script, str(n), mounts=[told]) for n, p in enumerate(pods)]
    created = pods[1].create("sh", "-c", "echo late; exit 2")
    node.stop_containerd(how)
    # One exits by itself while nobody listens.
    (tmp_path / "stop0").touch()
    time.sleep(0.5)
    node.start_containerd()
    for pod, container in list(zip(pods, containers))[1:]:
        assert pod.state() == "SANDBOX_READY"
        assert container.state() == "CONTAINER_RUNNING"
        assert container.exec("echo", "alive").stdout == "alive\n"
    assert containers[0].wait_exit() == 6, "an exit that nobody saw is reported"
    created.start()
    assert created.wait_exit() == 2
    late = pods[2].run("sh", "-c", "exit 8")
    assert late.wait_exit() == 8, "new containers in an old pod"
    lines = [int(x) for x in containers[3].logs().splitlines()]
    assert lines == list(range(len(lines))), "no line of output is lost"
    containers[4].stop(grace=1)


def test_an_exit_while_containerd_is_down_is_published_once_it_is_back(node):
    """Whoever listens on containerd's socket meanwhile and answers nothing holds the event up until `ctr events` watches."""
    container = programs.run(node.pod(), *WAIT)
    init = container.info()["pid"]
    node.stop_containerd()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(20)
        pathlib.Path(EVENTS_SOCKET).unlink(missing_ok=True)
        listener.bind(EVENTS_SOCKET)
        listener.listen()
        os.kill(init, signal.SIGKILL)
        held, _ = listener.accept()
        node.start_containerd()
        with events.watched(node.dir) as topics:
            held.close()
            until(lambda: "/tasks/exit" in topics(container), "the exit event")
            assert topics(container).count("/tasks/exit") == 1
    assert container.wait_exit() == 137


def test_an_exit_is_reported_after_a_restart_of_containerd_and_the_shim_is_harmless(node):
    """containerd runs the shim's delete even after a normal Delete of a reloaded container."""
    pod = node.pod()
    container, other = programs.run(pod, *WAIT), programs.run(pod, *WAIT)
    node.stop_containerd()
    node.start_containerd()
    container.stop(grace=0)
    container.remove()
    time.sleep(0.5)
    assert answers(other)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_sandboxer_restarts_while_idle(node, sig):
    pod = node.pod(hostname="kept")
    container = programs.run(pod, *WAIT)
    task_server = node.task_pid()
    node.kill_sandboxer(sig)
    assert answers(container), "containers do not need it"
    assert container.state() == "CONTAINER_RUNNING"
    node.start_sandboxer(*node.daemon_args)
    assert node.task_pid() == task_server, "the task server lives on"
    until(lambda: pod.state() == "SANDBOX_READY", "the pod is ready")
    late = pod.run("hostname")
    assert late.wait_exit() == 0 and late.logs() == "kept\n"
    # Wait is asked again after a while; then a Stop is noticed.
    pod.stop()
    assert pod.state() == "SANDBOX_NOTREADY"
    pod.remove()


def try_cycle(node):
    """One pod from start to end; what fails because the daemon is away just now is tried again or left to cleanup."""
    try:
        pod = node.pod(next(programs.HANDLERS))
        container = programs.run(pod, *WAIT)
        answers(container)
        container.stop(grace=0)
        pod.stop()
        pod.remove()
        node.pods.remove(pod)
        return True
    except (Failed, subprocess.TimeoutExpired):
        return False


def states(known):
    """What the journals of sandboxes say that are not known."""
    found = []
    for record in (STATE / "sandboxes").glob("*/sandbox.json"):
        with contextlib.suppress(OSError, ValueError):
            if record.parent.name not in known:
                found.append(json.loads(record.read_text())["state"])
    return found


# Create is from "creating" to "created", Start from there to "ready", Stop from "stopping" to "stopped".
@pytest.mark.parametrize("state", ["creating", "created", "stopping"])
def test_sandboxer_killed_in_a_call(node, state):
    """Killed when the journal says so, which it still does then: a successor goes on from there."""
    node.remove_pods()
    before = kuasar.census()
    bystander = node.pod()
    container = programs.run(bystander, *WAIT)
    hits = 0
    for _ in range(30):
        known = os.listdir(STATE / "sandboxes")  # some of those that were cut off are still there
        worker = threading.Thread(target=try_cycle, args=(node,))
        worker.start()
        while worker.is_alive() and state not in states(known):
            time.sleep(0.0002)
        node.kill_sandboxer()
        hits += state in states(known)
        node.start_sandboxer(*node.daemon_args)
        worker.join(timeout=120)
        assert not worker.is_alive()
        assert answers(container)
        if hits == 3:
            break
    assert hits > 0, f"no sandbox was {state} when its daemon was killed"
    assert try_cycle(node), "after all that a pod works"
    assert bystander.state() == "SANDBOX_READY"
    node.remove_pods()
    kuasar.nothing_left(before, timeout=60)


def test_sandboxer_killed_in_a_start(node):
    """Which is under way as long as the task server, whose answer it waits for, is stopped."""
    node.remove_pods()
    before = kuasar.census()
    task, done = node.task_pid(), []
    worker = threading.Thread(target=lambda: done.append(try_cycle(node)))
    os.kill(task, signal.SIGSTOP)
    try:
        worker.start()
        until(lambda: re.search(r'kuasar_rpc_open\{[^}]*method="Start"\} 1$', metrics("sandboxer"), re.M), "the Start is under way")
        assert states([]) == ["created"]
        node.kill_sandboxer()
    finally:
        os.kill(task, signal.SIGCONT)
    node.start_sandboxer(*node.daemon_args)
    worker.join(timeout=120)
    assert not worker.is_alive()
    assert try_cycle(node), "after that a pod works"
    node.remove_pods()
    kuasar.nothing_left(before, timeout=60)


def test_sandboxer_killed_at_20_random_instants(node):
    node.remove_pods()
    before = kuasar.census()
    bystander = node.pod()
    container = programs.run(bystander, *WAIT)
    rng = random.Random(20)
    done = []
    for _ in range(20):
        worker = threading.Thread(target=lambda: done.append(try_cycle(node)))
        worker.start()
        time.sleep(rng.uniform(0.0, 0.35))
        node.restart_sandboxer()
        worker.join(timeout=120)
        assert not worker.is_alive()
        assert answers(container)
    assert try_cycle(node), "after all that a pod works"
    assert bystander.state() == "SANDBOX_READY"
    node.remove_pods()
    # A Create or Start that was cut off just before its answer, and that containerd has forgotten, is known to nobody
    # but us; it goes a while after its network namespace has gone.
    kuasar.nothing_left(before, timeout=60)


def test_task_server_killed_at_8_random_instants(node):
    """Between the making of a pod and its removal: of a create, a start, an exec, a delete."""
    node.remove_pods()
    before = kuasar.census()
    rng = random.Random(8)
    for _ in range(8):
        worker = threading.Thread(target=try_cycle, args=(node,))
        worker.start()
        time.sleep(rng.uniform(0.05, 0.5))
        old = node.task_pid()
        os.kill(old, signal.SIGKILL)
        until(lambda: kuasar.pids_of(kuasar.TASK) not in ([], [old]), "a successor runs")
        worker.join(timeout=120)
        assert not worker.is_alive()
    assert try_cycle(node) and try_cycle(node), "after all that pods work"
    # What containerd could not delete it tries again a second later, and removes nothing before that.
    until(lambda: not crictl("ps", "-q", "--state", "running").stdout, "containerd sees them exited")
    node.remove_pods()
    # A container whose Create was answered and whose Start was not is removed without its bundle (there is no shim whose end
    # containerd would notice); containerd takes it away when it starts.
    node.stop_containerd()
    node.start_containerd()
    kuasar.nothing_left(before, timeout=60)


def test_task_server_killed(node):
    node.remove_pods()
    before = kuasar.census()
    pods = [node.pod() for _ in range(3)]
    containers = [programs.run(p, *WAIT) for p in pods]
    pids = [c.pid() for c in containers]
    old = node.task_pid()
    os.kill(old, signal.SIGKILL)
    # On the second kernel, or with sanitizers, calls themselves take long.
    slow = V2 or os.environ.get("KUASAR_PRESET") == "asan"
    until(lambda: not crictl("ps", "-q", "--state", "running").stdout, "containerd sees them exited", 10 if slow else 2)
    assert all(c.state() == "CONTAINER_EXITED" for c in containers)
    assert all(c.status()["exitCode"] == 255 for c in containers)
    if kuasar.KIND != "vmm":  # where they are in machines, which live on
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "their processes are ended")
    until(lambda: kuasar.pids_of(kuasar.TASK) not in ([], [old]), "a successor runs")
    again = programs.run(pods[0], *leave(3))
    assert again.wait_exit() == 3, "new containers in the old pod"
    programs.run(node.pod(), *WAIT)
    node.remove_pods()
    kuasar.nothing_left(before)


def test_task_server_killed_while_containerd_is_down(node):
    node.remove_pods()
    before = kuasar.census()
    pod = node.pod()
    container = programs.run(pod, *WAIT)
    node.stop_containerd("KILL")
    os.kill(node.task_pid(), signal.SIGKILL)
    node.start_containerd()
    assert container.wait_exit() == 255
    assert programs.run(pod, *leave(4)).wait_exit() == 4
    node.remove_pods()
    kuasar.nothing_left(before)


def test_both_daemons_killed(node):
    node.remove_pods()
    before = kuasar.census()
    pod = node.pod()
    programs.run(pod, *WAIT)
    node.kill_sandboxer()
    os.kill(node.task_pid(), signal.SIGKILL)
    node.start_sandboxer(*node.daemon_args)
    until(lambda: crictl("ps", "-q", "--state", "running").stdout.strip() == "", "its container is exited")
    assert programs.run(node.pod(), *leave(5)).wait_exit() == 5
    node.remove_pods()
    kuasar.nothing_left(before)


def test_second_instance_is_refused(node):
    result = kuasar.run(kuasar.SANDBOXER, check=False, timeout=20)
    assert result.returncode == 1 and "already" in result.stderr
    result = kuasar.run(kuasar.TASK, check=False, timeout=20)
    assert result.returncode == 1 and "already" in result.stderr
    assert node.pod().run("true").wait_exit() == 0
