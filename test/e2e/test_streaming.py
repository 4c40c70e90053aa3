"""What is special when the containers' stdio goes by containerd's streaming addresses (io_type = "streaming") instead of FIFOs.

What both must do is in test_io."""

import os
import signal
import subprocess
import time

import pytest

import node as kuasar
from node import crictl, exit_code, until
from test_io import LOOP

HANDLER = kuasar.HANDLER + "-streaming"


@pytest.fixture
def pod(node):
    return node.pod(handler=HANDLER)


def stdio_of(container):
    """What the first process of a container has as stdin, stdout and stderr."""
    return [os.readlink(f"/proc/{container.pid()}/fd/{n}") for n in range(3)]


def test_logs(pod):
    container = pod.run("sh", "-c", "echo out; echo err >&2; sleep 600")
    assert all(f.startswith("pipe:") for f in stdio_of(container)[1:]), "no FIFO of containerd's"
    until(lambda: container.log.exists() and container.log.read_text().count("\n") == 2, "both lines are logged")
    lines = [line.split(" ", 3)[1:] for line in container.log.read_text().splitlines()]
    assert sorted(lines) == [["stderr", "F", "err"], ["stdout", "F", "out"]]


def test_exec(pod):
    container = pod.run(*LOOP)
    # crictl prints standard output, a newline, standard error; nothing of the first when the program failed.
    assert container.exec("sh", "-c", "echo out; echo err >&2").stdout == "out\n\nerr"
    result = container.exec("sh", "-c", "echo out; echo err >&2; exit 6", check=False)
    assert exit_code(result) == 6 and "err" in result.stderr
    for code in (0, 1, 127, 255):
        assert exit_code(container.exec("sh", "-c", f"exit {code}", check=False)) == code
    with pytest.raises(kuasar.Failed, match="no-such-program"):
        container.exec("no-such-program")
    assert container.exec("echo", "still").stdout == "still\n"


def test_a_reader_that_never_reads_does_not_hold_up_the_end_of_the_pod(node, pod):
    container = pod.run(*LOOP)
    reader = subprocess.Popen(["crictl", "exec", "-i", container.id, "yes"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        until(lambda: "yes" in kuasar.processes().values(), "yes runs")
        time.sleep(1)
        pod.stop()
        pod.remove()
        until(lambda: "yes" not in kuasar.processes().values(), "yes is gone")
    finally:
        reader.kill()
        reader.communicate()


def test_a_created_container_that_is_never_started(node, pod):
    container = pod.create(*LOOP)
    container.remove()
    other = pod.run(*LOOP)
    assert other.exec("echo", "fine").stdout == "fine\n"


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_output_goes_on_after_a_restart_of_containerd(node, pod, how):
    """What is under way when containerd ends is lost (streaming has no acknowledgement): some lines, no more."""
    container = pod.run("sh", "-c", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done")
    talker = pod.run("sh", "-c", "while read x; do echo got $x; done; echo eof", stdin=True, stdin_once=True)
    created = pod.create("echo", "late")
    until(lambda: container.log.exists() and "line 50\n" in container.log.read_text(), "it prints")
    node.stop_containerd(how)
    time.sleep(1)
    node.start_containerd()
    before = len(container.log.read_text().splitlines())
    until(lambda: len(container.log.read_text().splitlines()) > before + 100, "output goes on")
    seen = [int(line.rsplit(" ", 1)[1]) for line in container.log.read_text().splitlines()]
    assert seen == sorted(set(seen)), "in order, nothing twice"
    assert seen[-1] + 1 - len(seen) < 50, "little is lost"
    assert container.state() == "CONTAINER_RUNNING" and container.exec("echo", "new").stdout == "new\n"
    attach = subprocess.Popen(["crictl", "attach", "-i", talker.id], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(0.5)
    attach.stdin.write(b"again\n")
    attach.stdin.close()
    assert talker.wait_exit() == 0
    attach.kill()
    attach.wait()
    assert talker.logs().splitlines() == ["got again", "eof"]
    created.start()
    assert created.wait_exit() == 0 and created.logs() == "late\n"
    container.stop(grace=0)


def test_kill_9_of_the_task_server(node, pod):
    container = pod.run("sh", "-c", "while :; do echo x; sleep 0.1; done")
    pid = container.pid()
    os.kill(node.task_pid(), signal.SIGKILL)
    assert container.wait_exit() == 255
    until(lambda: not os.path.exists(f"/proc/{pid}"), "its processes are ended")
    pod.remove()
    again = node.pod(handler=HANDLER)
    assert again.run("echo", "served").wait_exit() == 0


def test_nothing_is_left(node):
    node.pod(handler=HANDLER).run("true").wait_exit()
    node.remove_pods()
    before, fds = kuasar.census(), kuasar.open_fds(node.task_pid())
    pod = node.pod(handler=HANDLER)
    containers = [pod.run("sh", "-c", "echo hello; sleep 600", stdin=True) for _ in range(3)]
    for container in containers:
        container.exec("true")
    pod.create("true", stdin=True).remove()
    crictl("stop", "-t", "0", containers[0].id)
    pod.remove()
    kuasar.nothing_left(before)
    # containerd 2.1 would keep the connection of a stream until it ends itself.
    until(lambda: kuasar.open_fds(node.task_pid()) <= fds, "connections are closed")
