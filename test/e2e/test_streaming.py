"""The containers' stdio by containerd's streaming addresses (io_type = "streaming") instead of FIFOs."""

import hashlib
import os
import re
import signal
import subprocess
import time

import pytest

import node as kuasar
from node import crictl, exit_code, until
from test_io import LOOP, Terminal, tail_bytes

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


def test_64_mib_through_exec_stdin_and_back(pod):
    container = pod.run(*LOOP)
    data = os.urandom(64 << 20)
    result = subprocess.run(["crictl", "exec", "-i", container.id, "cat"], input=data, capture_output=True, timeout=180)
    assert result.returncode == 0, result.stderr[-500:]
    assert hashlib.sha256(result.stdout).hexdigest() == hashlib.sha256(data).hexdigest()


def test_64_mib_through_logs(pod):
    container = pod.run("sh", "-c", "dd if=/dev/urandom bs=1M count=48 2>/dev/null | base64 | tee /data | cat; sha256sum < /data > /sum; echo END; sleep 600")
    until(lambda: container.log.exists() and b"END" in tail_bytes(container.log), "all is written", 180, 0.2)
    want = container.exec("cat", "/sum").stdout.split()[0]
    digest = hashlib.sha256()
    with open(container.log, "rb") as log:
        for line in log:
            text = line.split(b" ", 3)
            if text[3].strip() == b"END":
                break
            digest.update(text[3][:-1] + (b"\n" if text[2] == b"F" else b""))
    assert digest.hexdigest() == want


def test_output_before_a_sudden_exit_is_whole(pod):
    """containerd throws away what it has not read when it hears of the exit; so the exit comes later."""
    for _ in range(10):
        container = pod.run("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo END")
        assert container.wait_exit() == 0
        text = container.logs()
        assert text.endswith("END\n") and text.count("x") == 3000000
        container.remove()


def test_a_reader_that_stalls_holds_up_its_own_exec_only(pod):
    container = pod.run(*LOOP)
    reader = subprocess.Popen(["crictl", "exec", "-i", container.id, "sh", "-c", "i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    time.sleep(2)  # everything between is full by now
    assert container.exec("echo", "other").stdout == "other\n"
    out = reader.communicate(timeout=60)[0]
    assert out.decode().splitlines() == [f"line {i}" for i in range(60000)]


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


def test_exec_with_a_terminal(pod):
    container = pod.run(*LOOP)
    t = Terminal("exec", "-it", container.id, "sh")
    try:
        t.send("tty; stty size\n")
        t.expect(r"/dev/pts/\d+")
        t.expect(r"40 100")
        t.resize(50, 120)
        os.kill(t.process.pid, signal.SIGWINCH)
        time.sleep(0.5)
        t.send("stty size\n")
        t.expect(r"50 120")
        t.send("exit 9\n")
        until(lambda: t.process.poll() is not None, "exec ends with its shell")
        assert t.process.returncode != 0
    finally:
        t.close()


def test_a_terminal_s_last_words_are_whole(pod):
    container = pod.run("sh", "-c", "tty; for i in $(seq 20000); do echo line $i; done", tty=True)
    assert container.wait_exit() == 0
    lines = container.logs().replace("\r", "").splitlines()
    assert re.match(r"/dev/(pts/\d+|console)", lines[0]) and lines[1:] == [f"line {i}" for i in range(1, 20001)]


def test_attach_with_a_terminal(pod):
    container = pod.run("sh", stdin=True, tty=True)
    t = Terminal("attach", "-it", container.id)
    try:
        time.sleep(0.5)
        t.send("echo at''tached; tty\n")
        t.expect("attached")
        t.expect(r"/dev/pts/\d+")
    finally:
        t.close()
    assert container.state() == "CONTAINER_RUNNING", "detaching ends nothing"
    container.stop(grace=1)


def test_attach_without_a_terminal(pod):
    container = pod.run("sh", "-c", "while read x; do echo got $x; done; echo eof", stdin=True, stdin_once=True)
    attach = subprocess.Popen(["crictl", "attach", "-i", container.id], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(0.5)
    attach.stdin.write(b"one\ntwo\n")
    attach.stdin.close()
    assert container.wait_exit() == 0, "end of input reaches the container"
    attach.kill()
    attach.wait()
    assert container.logs().splitlines() == ["got one", "got two", "eof"]


def test_exec_ends_although_a_child_holds_its_output(pod):
    container = pod.run(*LOOP)
    begin = time.monotonic()
    result = container.exec("sh", "-c", "sleep 3 & echo started")
    assert "started" in result.stdout and time.monotonic() - begin < 30


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
