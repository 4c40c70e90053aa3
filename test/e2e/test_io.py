"""Bytes in and out, by FIFOs and by streaming addresses: nothing lost, nothing invented, terminals behave."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import pty
import random
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import node as kuasar
from node import HANDLER, exit_code, until

LOOP = ["sh", "-c", "while :; do sleep 1; done"]


@pytest.fixture(params=["fifo", "streaming"])
def pod(node, request):
    return node.pod(handler=HANDLER if request.param == "fifo" else f"{HANDLER}-{request.param}")


def test_64_mib_through_exec_stdin_and_back(pod):
    container = pod.run(*LOOP)
    data = os.urandom(64 << 20)
    result = subprocess.run(["crictl", "exec", "-i", container.id, "cat"], input=data, capture_output=True, timeout=180)
    assert result.returncode == 0, result.stderr[-500:]
    assert hashlib.sha256(result.stdout).hexdigest() == hashlib.sha256(data).hexdigest()


def test_64_mib_through_logs(pod):
    # Random bytes as text: a log is lines. The end is marked by what is not in base64.
    container = pod.run("sh", "-c", "dd if=/dev/urandom bs=1M count=48 2>/dev/null | base64 | tee /data | cat; sha256sum < /data > /sum; echo -END-; sleep 600")
    until(lambda: container.log.exists() and b"-END-" in tail_bytes(container.log), "all is written", 180, 0.2)
    want = container.exec("cat", "/sum").stdout.split()[0]
    digest, total = hashlib.sha256(), 0
    with open(container.log, "rb") as log:
        for line in log:
            text = line.split(b" ", 3)
            if text[3].strip() == b"-END-":
                break
            part = text[3][:-1] + (b"\n" if text[2] == b"F" else b"")
            digest.update(part)
            total += len(part)
    assert total > 64 << 20 and digest.hexdigest() == want


def tail_bytes(path, n=200):
    with open(path, "rb") as f:
        f.seek(0, 2)
        f.seek(max(0, f.tell() - n))
        return f.read()


def test_output_of_a_short_life_is_whole(pod):
    """containerd throws away what it has not read when it hears of the exit; so the exit comes later."""
    for _ in range(5):
        container = pod.run("sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo END")
        assert container.wait_exit() == 0
        text = container.logs()
        assert text.endswith("END\n") and text.count("x") == 6000000
        container.remove()


def test_a_slow_reader_loses_nothing_and_holds_up_nobody(pod):
    container = pod.run(*LOOP)
    reader = subprocess.Popen(["crictl", "exec", "-i", container.id, "sh", "-c", "i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    time.sleep(2)  # everything between is full by now
    assert container.exec("echo", "other").stdout == "other\n"
    out = reader.communicate(timeout=60)[0]
    assert out.decode().splitlines() == [f"line {i}" for i in range(60000)]


@pytest.mark.parametrize("how", ["exec", "attach"])
def test_input_can_be_opened_by_path_when_all_of_it_has_come(pod, how):
    script = "sleep 1; cat /dev/stdin; echo end"
    if how == "exec":
        argv = ["crictl", "exec", "-i", pod.run(*LOOP).id, "sh", "-c", script]
    else:
        argv = ["crictl", "attach", "-i", pod.run("sh", "-c", script, stdin=True, stdin_once=True).id]
    assert subprocess.run(argv, input="typed\n", text=True, capture_output=True, timeout=20).stdout == "typed\nend\n"


class Terminal:
    """A crictl command on a pty of its own."""

    def __init__(self, *argv, rows=40, columns=100):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(["crictl", *argv], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, timeout=15):
        end = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"no {pattern!r} in {self.text!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    assert re.search(pattern, self.text), f"ended without {pattern!r}: {self.text!r}"

    def expect_size(self, rows, columns):
        """Asks for the size until it is this: it comes by a call of its own, which may be later than what is typed."""
        for _ in range(30):
            self.send("stty size\n")
            with contextlib.suppress(AssertionError):
                self.expect(rf"{rows} {columns}\r", 0.5)
                return
        raise AssertionError(f"not {rows} {columns}: {self.text!r}")

    def close(self):
        self.process.kill()
        code = self.process.wait()
        os.close(self.master)
        return code


def test_exec_with_a_terminal(pod):
    container = pod.run(*LOOP)
    t = Terminal("exec", "-it", container.id, "sh")
    try:
        t.send("tty\n")
        t.expect(r"/dev/pts/\d+")
        t.expect_size(40, 100)
        t.resize(50, 120)
        os.kill(t.process.pid, signal.SIGWINCH)
        t.expect_size(50, 120)
        t.send("exit 9\n")
        until(lambda: t.process.poll() is not None, "exec ends with its shell")
        assert t.process.returncode != 0
    finally:
        t.close()


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


def test_a_terminal_s_last_words_are_whole(pod):
    container = pod.run("sh", "-c", "tty; for i in $(seq 20000); do echo line $i; done", tty=True)
    assert container.wait_exit() == 0
    lines = container.logs().replace("\r", "").splitlines()
    assert re.match(r"/dev/(pts/\d+|console)", lines[0]) and lines[1:] == [f"line {i}" for i in range(1, 20001)]


def test_exec_ends_although_a_child_holds_its_output(pod):
    """kubectl exec of something that leaves a daemon behind: the exit is known at once, IO ends with the daemon."""
    container = pod.run(*LOOP)
    begin = time.monotonic()
    result = container.exec("sh", "-c", "sleep 3 & echo started")
    assert "started" in result.stdout and time.monotonic() - begin < 30


@pytest.mark.any_containerd
@pytest.mark.many_forks
@kuasar.not_in_machines("the host has no process to send signals to")
def test_200_exit_codes_and_signals(node):
    """What the program did is what is reported: 160 random exit codes and 40 deaths by a random signal."""
    rng = random.Random(4)
    plans = [("exit", rng.randrange(256)) for _ in range(160)]
    plans += [("signal", rng.choice([1, 2, 3, 6, 9, 10, 11, 12, 13, 14, 15])) for _ in range(40)]
    rng.shuffle(plans)
    pod = node.pod()
    node_pids = node.pod(linux={"security_context": {"namespace_options": {"pid": 2}}})
    running = []
    for how, value in plans:
        if how == "exit":
            running.append((pod.run("sh", "-c", f"exit {value}"), value))
            continue
        # From outside the pid namespace every signal but the ones that pid 1 has no handler for is dropped,
        # so the container shares the node's pids.
        container = node_pids.run("sleep", "1000", linux={"security_context": {"namespace_options": {"pid": 2}}})
        pid = container.pid()
        # Start is over when runc's init has been let go; what it executes comes a moment later.
        until(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "it is the program")
        os.kill(pid, value)
        running.append((container, 128 + value))
    for container, code in running:
        assert container.wait_exit() == code
        container.remove()


def test_exec_exit_codes(pod):
    container = pod.run(*LOOP)
    for code in (0, 1, 2, 7, 42, 126, 127, 255):
        result = container.exec("sh", "-c", f"exit {code}", check=False)
        assert exit_code(result) == code
    for sig in (1, 6, 9, 15):
        result = container.exec("sh", "-c", f"kill -{sig} $$", check=False)
        assert exit_code(result) == 128 + sig
