"""WebAssembly containers: what kubectl's users expect of a container, with a module as its program. With both engines,
but for what test_wasm_engines asks of both in another way: that is asked here of the default handler."""

import os
import pathlib
import re
import signal
import stat
import subprocess
import time

import pytest

import node as kuasar
import test_cgroup
import wasm
import wire
from node import Failed, crictl, exit_code, until
from test_cri import lowest_oom_score
from test_io import Terminal

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("image")

TOOL = "/tool.wasm"
CACHE = pathlib.Path("/var/cache/kuasar-wasm")

form = test_cgroup.form

# What is over a limit is not killed then.
no_swap = pytest.mark.skipif(pathlib.Path("/proc/swaps").read_text().count("\n") > 1, reason="it would go on in swap")


@pytest.fixture
def pod(node, handler):
    return node.pod(handler)


@pytest.fixture
def default_pod(node):
    return node.pod()


def create(pod, *command, **fields):
    return pod.create(*command, image=wasm.IMAGE, **fields)


def run(pod, *command, **fields):
    return create(pod, *command, **fields).start()


def outcome(pod, *command, **fields):
    """Exit code and log of a container that ends by itself."""
    container = run(pod, *command, **fields)
    return container.wait_exit(), container.logs()


def refusal(container):
    """Why it does not start: what its status says (kubectl describe)."""
    with pytest.raises(Failed):
        container.start()
    status = container.status()
    assert (status["state"], status["exitCode"], status["reason"]) == ("CONTAINER_EXITED", 128, "StartError")
    return status["message"]


# ---- a program's life ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_exit_codes_and_both_outputs(default_pod, code):
    container = run(default_pod, TOOL, "exit", str(code))
    assert container.wait_exit() == code
    assert container.status()["reason"] == ("Completed" if code == 0 else "Error")
    streams = {line.split(" ", 3)[1]: line.split(" ", 3)[3] for line in container.log.read_text().splitlines()}
    assert streams == {"stdout": "to stdout", "stderr": "to stderr"}


@pytest.mark.parametrize("kind, code, text", [
    ("unreachable", 128 + 4, "unreachable"),
    ("divide", 128 + 8, "divide by zero"),
    ("memory", 128 + 11, "out of bounds"),
    ("stack", 128 + 11, "call stack exhausted"),
    ("abort", 128 + 4, "unreachable"),
])
def test_traps_are_signals_with_a_text(default_pod, kind, code, text):
    container = run(default_pod, TOOL, "trap", kind)
    assert container.wait_exit() == code, container.logs()
    result = crictl("logs", container.id)
    assert "about to trap" in result.stdout and text in result.stderr


def test_arguments_environment_and_directory(default_pod):
    code, text = outcome(default_pod, TOOL, "show", "two words", "", "ünïcode", envs=[{"key": "MINE", "value": "a=b"}], working_dir="/data")
    assert code == 0
    lines = text.splitlines()
    assert [x for x in lines if x.startswith("arg ")] == ["arg show", "arg two words", "arg ", "arg ünïcode"]
    assert {"env MINE=a=b", "env FROM=image", "env PATH=/bin"} <= set(lines)


def test_the_entry_is_looked_up_as_any_program(pod):
    assert outcome(pod, "tool", "exit", "4")[0] == 4  # in PATH
    assert outcome(pod, "./tool.wasm", "exit", "5", working_dir="/")[0] == 5


def test_entrypoint_of_the_image(pod):
    container = pod.create(image=wasm.IMAGE, args=["exit", "6"]).start()
    assert container.wait_exit() == 6


@pytest.mark.parametrize("what", [["wait", "600"], ["spin"]])
def test_ends_by_term_within_the_grace_time(default_pod, what):
    container = run(default_pod, TOOL, *what)
    until(lambda: container.logs(), "it runs")
    begin = time.monotonic()
    container.stop(grace=30)
    assert time.monotonic() - begin < 20  # it did not take KILL
    assert container.status()["exitCode"] == 128 + 15


def test_killed_at_once(pod):
    container = run(pod, TOOL, "wait", "600")
    container.stop(grace=0)
    assert container.status()["exitCode"] == 128 + 9


def test_restarted_in_the_same_pod(pod):
    for attempt in range(3):
        container = run(pod, TOOL, "exit", str(attempt), name="again", attempt=attempt)
        assert container.wait_exit() == attempt
        container.remove()


def test_a_pid_namespace_of_its_own(pod):
    fields = {"linux": {"security_context": {"namespace_options": {"pid": 1}}}}
    container = run(pod, TOOL, "spin", **fields)
    until(lambda: container.logs(), "it runs")
    container.stop(grace=30)
    assert container.status()["exitCode"] == 128 + 15


def test_a_pid_namespace_of_the_pod(node, handler):
    shared = {"linux": {"security_context": {"namespace_options": {"pid": 0}}}}
    pod = node.pod(handler, **shared)
    container = run(pod, TOOL, "wait", "600", **shared)
    side = pod.run("sleep", "600", **shared)
    assert "wasm-worker" in side.exec("ps", "-o", "args").stdout or "tool" in side.exec("ps", "-o", "args").stdout
    container.stop(grace=30)
    assert container.status()["exitCode"] == 128 + 15


# ---- bytes --------------------------------------------------------------------------------------


def test_much_output_is_whole(pod):
    """1 GiB of it, where that does not take minutes."""
    slow = os.environ.get("KUASAR_PRESET") == "asan" or os.environ.get("KUASAR_KERNEL") == "uml"
    size = 64 if slow else 1024
    container = run(pod, TOOL, "say", str(size))
    assert container.wait_exit(timeout=300) == 0
    # Lines of 1023 bytes and a newline, each behind a time and a stream.
    with container.log.open("rb") as log:
        assert sum(line.endswith(b" " + b"x" * 1023 + b"\n") for line in log) == size * 1024
    container.log.unlink()


def test_exec_with_standard_input(pod):
    container = run(pod, TOOL, "wait", "600")
    data = os.urandom(4 << 20)
    result = subprocess.run(["crictl", "exec", "-i", container.id, TOOL, "echo"], input=data, capture_output=True, timeout=120)
    assert result.returncode == 0 and result.stdout == data


def test_standard_input_of_a_container(pod):
    container = create(pod, TOOL, "echo", stdin=True, stdin_once=True).start()
    result = subprocess.run(["crictl", "attach", "-i", container.id], input=b"one\ntwo\n", capture_output=True, timeout=60)
    assert result.stdout == b"one\ntwo\n"
    assert container.wait_exit() == 0


def test_a_terminal(pod):
    container = run(pod, TOOL, "wait", "600", tty=True)
    assert until(lambda: container.logs(), "it runs") == "waiting\n"  # Python reads "\\r\\n" so
    terminal = Terminal("exec", "-it", container.id, TOOL, "echo")
    terminal.send("typed\r")
    terminal.expect("typed\r\ntyped")  # by the terminal, by the module: crictl's own is out of the way
    terminal.send("\x04")
    assert terminal.process.wait(timeout=30) == 0


def test_attached_by_a_terminal(pod):
    container = run(pod, TOOL, "echo", tty=True, stdin=True)
    terminal = Terminal("attach", "-it", container.id)
    terminal.send("typed\r")
    terminal.expect("typed\r\ntyped")
    terminal.send("\x04")
    assert container.wait_exit() == 0
    assert terminal.process.wait(timeout=30) == 0


def test_by_streaming_addresses(node):
    """Of containerd, in the place of FIFOs."""
    pod = node.pod(f"{kuasar.HANDLER}-streaming")
    assert os.readlink(f"/proc/{run(pod, TOOL, 'wait', '600').pid()}/fd/1").startswith("pipe:")
    test_exit_codes_and_both_outputs(pod, 3)
    test_exec_with_standard_input(pod)
    test_standard_input_of_a_container(pod)
    test_a_terminal(pod)


# ---- exec ---------------------------------------------------------------------------------------


def test_exec_of_modules(default_pod):
    container = run(default_pod, TOOL, "wait", "600")
    assert container.exec(TOOL, "read", "/data/file").stdout == "from the image\n"
    result = container.exec(TOOL, "exit", "9", check=False)
    assert exit_code(result) == 9 and "to stderr" in result.stderr
    assert exit_code(container.exec(TOOL, "trap", "divide", check=False)) == 128 + 8
    assert container.state() == "CONTAINER_RUNNING"


def test_exec_of_what_is_not_there(pod):
    container = run(pod, TOOL, "wait", "600")
    with pytest.raises(Failed, match="nothing.wasm"):
        container.exec("/nothing.wasm")
    with pytest.raises(Failed, match="truncated.wasm|WebAssembly"):
        container.exec("/truncated.wasm")
    assert container.exec(TOOL, "exit", "0").stdout


def test_exec_of_a_native_program_in_its_root(pod):
    """The image has none; what is mounted may have."""
    busybox = {"host_path": "/opt/busybox/bin/busybox", "container_path": "/busybox", "readonly": True}
    container = run(pod, TOOL, "wait", "600", mounts=[busybox])
    assert "tool.wasm" in container.exec("/busybox", "ls", "/").stdout
    assert exit_code(container.exec("/busybox", "sh", "-c", "exit 5", check=False)) == 5
    assert container.exec("/busybox", "id", "-u").stdout == "0\n"


# ---- files --------------------------------------------------------------------------------------


def test_a_root_that_is_read_only(pod):
    fields = {"linux": {"security_context": {"readonly_rootfs": True}}}
    code, _ = outcome(pod, TOOL, "write", "/data/new", "x", **fields)
    assert code == 1
    assert outcome(pod, TOOL, "read", "/data/file", **fields)[0] == 0
    assert outcome(pod, TOOL, "write", "/data/new", "x")[0] == 0


def test_volumes(default_pod, tmp_path):
    (tmp_path / "given").write_text("by the host\n")
    volume = {"host_path": str(tmp_path), "container_path": "/volume"}
    code, text = outcome(default_pod, TOOL, "read", "/volume/given", mounts=[volume])
    assert (code, text) == (0, "by the host\n")
    assert outcome(default_pod, TOOL, "write", "/volume/made", "made", mounts=[volume])[0] == 0
    assert (tmp_path / "made").read_text() == "made"
    assert outcome(default_pod, TOOL, "write", "/volume/no", "no", mounts=[volume | {"readonly": True}])[0] == 1
    assert not (tmp_path / "no").exists()


def test_nothing_of_the_host_is_seen(default_pod):
    for path in ("/../../../etc/kuasar-node/crictl.yaml", "/data/../../../../etc/kuasar-node/crictl.yaml", "/data/outside",
                 "/proc/1/root/etc/kuasar-node/crictl.yaml", "/proc/self/root/etc/kuasar-node/crictl.yaml"):
        assert outcome(default_pod, TOOL, "read", path)[0] == 1, path
    assert os.path.exists("/etc/kuasar-node/crictl.yaml")


def test_users(pod, tmp_path):
    os.chmod(tmp_path, 0o777)
    for parent in list(tmp_path.parents)[:-2]:
        os.chmod(parent, 0o755)
    (tmp_path / "roots").write_text("secret")
    os.chmod(tmp_path / "roots", 0o600)
    fields = {"mounts": [{"host_path": str(tmp_path), "container_path": "/volume"}],
              "linux": {"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}, "supplemental_groups": [4242]}}}
    assert outcome(pod, TOOL, "read", "/volume/roots", **fields)[0] == 1
    assert outcome(pod, TOOL, "write", "/volume/made", "x", **fields)[0] == 0
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (1000, 1000)
    container = run(pod, TOOL, "wait", "600", **fields)
    status = pathlib.Path(f"/proc/{container.pid()}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == facts["Gid"].split() == ["1000"] * 4
    assert "4242" in facts["Groups"].split() and "0" not in facts["Groups"].split()


def test_a_worker_has_nothing_to_take(pod):
    container = run(pod, TOOL, "wait", "600")
    pid = container.pid()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    facts = dict(line.split(":", 1) for line in status.splitlines())
    facts = {key: value.strip() for key, value in facts.items()}
    for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[caps], 16) == 0, caps
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    # Nothing of the host's is open; the compiled code is, and not even root can open that anew to write.
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(fd)
        assert int(fd.name) < 3 or not target.startswith(("/run/", "/etc", "/var/lib")), target
        if target.endswith("/code"):
            with pytest.raises(OSError, match="Read-only file system"):
                os.open(fd, os.O_RDWR)
    assert not os.path.samefile(f"/proc/{pid}/root", "/") and os.path.exists(f"/proc/{pid}/root/tool.wasm")


def test_the_oom_score_that_was_asked_for(pod):
    for asked in (lowest_oom_score(), 500):
        container = run(pod, TOOL, "wait", "600", **limited(oom_score_adj=asked))
        assert pathlib.Path(f"/proc/{container.pid()}/oom_score_adj").read_text() == f"{asked}\n"


def test_its_standard_files_are_containerds(pod):
    """No process copies."""
    container = run(pod, TOOL, "echo", stdin=True)
    told = wire.parse(wire.task("State", wire.message((1, container.id))))
    for n, (path,) in enumerate((told[5], told[6], told[7])):
        assert stat.S_ISFIFO(os.stat(path).st_mode) and os.path.samefile(path, f"/proc/{container.pid()}/fd/{n}")


def test_the_size_of_its_terminal(pod):
    container = run(pod, TOOL, "echo", tty=True, stdin=True)
    assert len({os.readlink(f"/proc/{container.pid()}/fd/{n}") for n in range(3)}) == 1
    with open(f"/proc/{container.pid()}/fd/0", opener=lambda path, flags: os.open(path, flags | os.O_NOCTTY)) as own:
        terminal = Terminal("attach", "-it", container.id)
        try:
            until(lambda: os.get_terminal_size(own.fileno()) == (100, 40), "it has the size of the other one")
            terminal.resize(50, 120)
            os.kill(terminal.process.pid, signal.SIGWINCH)
            until(lambda: os.get_terminal_size(own.fileno()) == (120, 50), "it changes with that")
        finally:
            terminal.close()


# ---- limits -------------------------------------------------------------------------------------


def limited(**resources):
    return {"linux": {"resources": resources}}


def test_memory_that_a_module_cannot_have(default_pod):
    """grow fails in the module, which may do something about it; nothing is killed."""
    code, text = outcome(default_pod, TOOL, "grow", "512", **limited(memory_limit_in_bytes=128 << 20))
    assert code == 7, text
    assert 40 < int(text.split()[0]) < 128
    assert outcome(default_pod, TOOL, "grow", "64")[0] == 0


def test_limits_are_in_the_cgroup_and_change(pod):
    container = run(pod, TOOL, "wait", "600", **limited(memory_limit_in_bytes=256 << 20, cpu_quota=50000, cpu_period=100000, cpu_shares=512))
    cgroup = container.cgroup()
    assert cgroup.memory_limit() == 256 << 20 and cgroup.cpu_quota() == (50000, 100000)
    assert cgroup.pids() == [container.pid()]
    crictl("update", "--memory", 300 << 20, "--cpu-quota", 70000, "--cpu-period", 100000, container.id)
    assert cgroup.memory_limit() == 300 << 20 and cgroup.cpu_quota() == (70000, 100000)
    assert container.state() == "CONTAINER_RUNNING"


def test_the_cgroup_of_a_pod_by_every_name(node, form):
    container = run(test_cgroup.make_pod(node, form), TOOL, "wait", "600", **limited(memory_limit_in_bytes=256 << 20))
    own = form.below(container.id)
    assert own.pids() == [container.pid()] and own.memory_limit() == 256 << 20


def test_out_of_memory_is_told(pod):
    """Memory that the engine does not count: an exec's."""
    busybox = {"host_path": "/opt/busybox/bin/busybox", "container_path": "/busybox", "readonly": True}
    container = run(pod, TOOL, "wait", "600", mounts=[busybox], **limited(memory_limit_in_bytes=64 << 20))
    container.exec("/busybox", "sh", "-c", "x=x; while :; do x=$x$x$x$x; done", check=False, timeout=120)
    assert container.cgroup().oom_kills() > 0
    container.stop(grace=5)
    assert container.status()["reason"] == "OOMKilled"


def test_mount_points_are_not_made_in_each_container(default_pod):
    container = run(default_pod, TOOL, "wait", "600")
    made = {str(path.relative_to(container.upper())) for path in container.upper().rglob("*")}
    if container.upper().stat().st_dev == kuasar.MOUNTPOINTS.stat().st_dev:
        assert not made & {"etc", "dev"}
    else:
        assert "etc/hosts" in made
    assert container.exec(TOOL, "read", "/etc/hosts").stdout == pathlib.Path("/etc/hosts").read_text()


def test_stats(pod):
    container = run(pod, TOOL, "hold", "64", "600")
    until(lambda: "waiting" in container.logs(), "it holds")
    def told():
        return kuasar.crictl_json("stats", "--id", container.id)["stats"]
    until(lambda: told() and int(told()[0]["memory"]["workingSetBytes"]["value"]) >= 64 << 20, "its memory shows")


# ---- pods ---------------------------------------------------------------------------------------


def test_modules_and_native_programs_in_one_pod(pod):
    module = run(pod, TOOL, "wait", "600")
    side = pod.run("sh", "-c", "echo native; sleep 600")
    assert side.exec("echo", "hi").stdout == "hi\n"
    for kind in ("net", "ipc", "uts"):
        assert os.readlink(f"/proc/{module.pid()}/ns/{kind}") == os.readlink(f"/proc/{side.pid()}/ns/{kind}"), kind
    assert os.readlink(f"/proc/{module.pid()}/ns/mnt") != os.readlink(f"/proc/{side.pid()}/ns/mnt")
    assert module.exec(TOOL, "read", "/etc/hostname").stdout == side.exec("hostname").stdout


def test_the_pods_files(node):
    pod = node.pod(hostname="wasmhost", dns_config={"servers": ["10.9.8.7"]})
    assert outcome(pod, TOOL, "read", "/etc/hostname") == (0, "wasmhost\n")
    assert "10.9.8.7" in outcome(pod, TOOL, "read", "/etc/resolv.conf")[1]


def test_many_at_once(node, handler):
    pods = [node.pod(handler) for _ in range(8)]
    containers = [run(pod, TOOL, "wait", "600") for pod in pods for _ in range(2)]
    assert len({c.pid() for c in containers}) == 16
    for container in containers:
        assert container.exec(TOOL, "exit", "0").returncode == 0
    for pod in pods:
        pod.remove()


# ---- what cannot be run -------------------------------------------------------------------------


@pytest.mark.parametrize("entry, says", [
    ("/truncated.wasm", "truncated.wasm"),
    ("/import.wasm", "env"),
    ("/nostart.wasm", "_start"),
    ("/component.wasm", "component"),
    ("/nothing.wasm", "nothing.wasm"),
    ("/data", "/data"),
    ("/text.wasm", "text.wasm is no WebAssembly"),
])
def test_what_cannot_be_run_says_why(default_pod, entry, says):
    assert says in refusal(create(default_pod, entry))


def test_a_module_over_the_limit_of_size(pod, tmp_path):
    """256 MiB; a file with a hole, so only its size is large."""
    with open(tmp_path / "big.wasm", "wb") as big:
        big.write(wasm.HEADER)
        big.truncate((256 << 20) + 1)
    volume = {"host_path": str(tmp_path), "container_path": "/volume"}
    assert re.search(r"big\.wasm.*268435457.*268435456", refusal(create(pod, "/volume/big.wasm", mounts=[volume])))


def test_a_module_that_its_user_may_not_read(pod):
    assert "secret.wasm" in refusal(create(pod, "/secret.wasm", linux={"security_context": {"run_as_user": {"value": 1000}}}))


def test_a_privileged_container(node, handler):
    """It would have all devices of the node."""
    privileged = {"linux": {"security_context": {"privileged": True}}}
    assert "linux: devices: a WebAssembly container has no devices" in refusal(create(node.pod(handler, **privileged), TOOL, "exit", "0", **privileged))


# ---- the cache ----------------------------------------------------------------------------------


def test_compiled_code_is_kept_and_is_ours_alone(default_pod):
    outcome(default_pod, TOOL, "exit", "0")
    until(lambda: list(CACHE.glob("*/code")), "it is kept")
    assert CACHE.stat().st_mode & 0o777 == 0o700
    for path in CACHE.rglob("*"):
        assert path.stat().st_uid == 0 and not path.stat().st_mode & 0o022


def test_a_broken_entry_is_compiled_again(default_pod):
    outcome(default_pod, TOOL, "exit", "0")
    until(lambda: list(CACHE.glob("wasmtime-*/code")), "it is kept")
    for entry in CACHE.glob("wasmtime-*/code"):
        entry.write_bytes(b"\x7fELF" + b"\0" * 4096)
    assert outcome(default_pod, TOOL, "exit", "3")[0] == 3


# ---- daemons that die ---------------------------------------------------------------------------


def test_the_sandboxer_is_killed(node, pod):
    container = run(pod, TOOL, "wait", "600")
    pid = container.pid()
    node.restart_sandboxer()
    assert container.exec(TOOL, "exit", "0").returncode == 0 and container.pid() == pid
    assert run(pod, TOOL, "exit", "3").wait_exit() == 3


def test_the_task_server_is_killed(node, pod, handler):
    container = run(pod, TOOL, "wait", "600")
    pid, old = container.pid(), node.task_pid()
    os.kill(old, 9)
    until(lambda: kuasar.pids_of(kuasar.TASK) not in ([], [old]), "a successor runs")
    assert container.wait_exit() == 255
    until(lambda: not os.path.exists(f"/proc/{pid}"), "its worker is gone")
    pod.remove()
    assert run(node.pod(handler), TOOL, "exit", "3").wait_exit() == 3


@pytest.mark.skipif(kuasar.CONTAINERD == "2.1", reason="containerd 2.3 takes the table of options")
def test_the_task_server_is_killed_while_a_native_container_is_made(node, tmp_path):
    """The next one knows that it is the OCI runtime who has something of it."""
    made, slow = tmp_path / "made", tmp_path / "runc"
    slow.write_text(f'#!/bin/sh\nrunc "$@" || exit\ncase "$*" in *" create "*) touch {made}; exec sleep 60 ;; esac\n')
    slow.chmod(0o755)
    root = kuasar.STATE / "runtime/k8s.io"
    with node.handler("kuasar-slow", f'  BinaryName = "{slow}"'):
        pod = node.pod(handler="kuasar-slow")
        container = pod.create("sleep", "600")
        start = subprocess.Popen(["crictl", "start", container.id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(made.exists, "the runtime has made it")
        assert (root / container.id).exists()
        old = node.task_pid()
        os.kill(old, 9)
        until(lambda: kuasar.pids_of(kuasar.TASK) not in ([], [old]), "a successor runs")
        assert start.wait(timeout=60) != 0
        until(lambda: not (root / container.id).exists(), "the runtime has forgotten it")


def test_the_worker_is_killed(pod):
    container = run(pod, TOOL, "wait", "600")
    os.kill(container.pid(), 9)
    assert container.wait_exit() == 128 + 9
