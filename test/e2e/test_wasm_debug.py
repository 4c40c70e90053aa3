"""Tools of the node's in Wasm containers that have none: kubectl exec finds them in debug_rootfs."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

import node as kuasar
from node import Failed, exit_code, run as run_program, until
from test_io import Terminal
from test_wasm import TOOL, outcome, run

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("image")

APPLETS = ("sh", "ls", "cat", "id", "ps", "ln", "touch", "mount", "stty", "sleep", "readlink", "kill")
AS_USER = {"linux": {"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}}}}


def make_tools(root):
    """A debug rootfs: busybox, and the directories where something is shown."""
    for name in ("", "bin", "container", "proc"):
        (root / name).mkdir()
        (root / name).chmod(0o755)
    shutil.copy("/opt/busybox/bin/busybox", root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("/bin/busybox")
    (root / "bin/tool").write_text("#!/bin/sh\necho the wrong one\n")
    (root / "bin/tool").chmod(0o755)
    return root


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    return make_tools(tmp_path_factory.mktemp("debug") / "tools")


@pytest.fixture(scope="module", autouse=True)
def configured(the_node, tools):
    config = the_node.write("debug.toml", f'debug_rootfs = "{tools}"\n')
    the_node.restart_daemons("--config", config)
    yield config
    the_node.restart_daemons()


@pytest.fixture
def container(pod):
    return run(pod, TOOL, "wait", "600")


def shell(container, script, **more):
    return container.exec("sh", "-c", script, **more)


def outcome_of(container, script):
    """Both outputs and the exit code: crictl shows the output only of what ends with 0."""
    out, _, code = container.exec("sh", "-c", f"({script}) 2>&1; echo =$?").stdout.rpartition("=")
    return out, int(code)


class Running:
    """A tool that runs in a container for a while, and its pid on the node."""

    def __init__(self, container):
        self.process = subprocess.Popen(["crictl", "exec", container.id, "sleep", "601"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = until(lambda: [p for p, line in kuasar.processes().items() if line == "sleep 601"], "it runs")[0]

    def __enter__(self):
        return self.pid

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(ProcessLookupError):  # containerd ends it as well, when its client is gone
            os.kill(self.pid, signal.SIGKILL)


# ---- what it is for -----------------------------------------------------------------------------


def test_a_shell_in_an_image_that_has_none(container):
    lines = shell(container, "ls /container; pwd; cat data/file").stdout.split("\n")
    assert {"tool.wasm", "data", "tmp", "/container", "from the image"} <= set(lines)
    assert exit_code(shell(container, "exit 7", check=False)) == 7
    assert exit_code(container.exec("/bin/busybox", "sh", "-c", "exit 3", check=False)) == 3


def test_both_outputs_and_the_environment(pod):
    container = run(pod, TOOL, "wait", "600", envs=[{"key": "MINE", "value": "a=b"}], working_dir="/data")
    result = shell(container, "echo $FROM $MINE; pwd; echo oops >&2")
    assert result.stdout.startswith("image a=b\n/container/data\n") and "oops" in result.stdout + result.stderr


def test_standard_input(container):
    data = os.urandom(1 << 20)
    result = subprocess.run(["crictl", "exec", "-i", container.id, "cat"], input=data, capture_output=True, timeout=120)
    assert result.returncode == 0 and result.stdout == data


def test_a_terminal(container):
    terminal = Terminal("exec", "-it", container.id, "sh")
    try:
        terminal.expect_size(40, 100)
        terminal.send("test -t 0 && echo it''is\r")
        terminal.expect("itis")
        terminal.send("exit 9\r")
        until(lambda: terminal.process.poll() is not None, "exec ends with its shell")
        assert terminal.process.returncode != 0
    finally:
        terminal.close()


def test_the_containers_programs_come_first(container):
    assert exit_code(container.exec("tool", "exit", "5", check=False)) == 5
    assert container.exec(TOOL, "read", "/data/file").stdout == "from the image\n"


def test_in_neither_place(container, tools):
    result = container.exec("nothing", check=False)
    assert exit_code(result) == 127
    assert f"nothing: neither the container nor the debug rootfs {tools} has it" in result.stdout + result.stderr
    assert exit_code(container.exec("./sh", check=False)) == 127  # from the container's directory


# ---- files --------------------------------------------------------------------------------------


def test_the_containers_mounts_are_there_as_it_has_them(pod, tmp_path):
    (tmp_path / "given").write_text("by the host\n")
    mounts = [{"host_path": str(tmp_path), "container_path": "/volume"},
              {"host_path": str(tmp_path), "container_path": "/fixed", "readonly": True}]
    container = run(pod, TOOL, "wait", "600", mounts=mounts, linux={"security_context": {"readonly_rootfs": True}})
    assert shell(container, "cat /container/volume/given").stdout == "by the host\n"
    shell(container, "touch /container/volume/made")
    assert (tmp_path / "made").exists()
    for path in ("/container/fixed/no", "/container/data/no"):
        assert "Read-only file system" in outcome_of(container, f"touch {path}")[0], path


def test_the_tools_cannot_be_changed(container, tools):
    before = sorted(str(p) for p in tools.rglob("*"))
    for path in ("/new", "/bin/new", "/bin/busybox"):
        assert "Read-only file system" in outcome_of(container, f"touch {path}")[0], path
    assert exit_code(shell(container, "mount -o remount,rw /", check=False)) != 0
    assert exit_code(shell(container, "mount -t tmpfs none /container", check=False)) != 0
    assert sorted(str(p) for p in tools.rglob("*")) == before


def test_the_container_sees_nothing_of_it(container):
    mountinfo = pathlib.Path(f"/proc/{container.pid()}/mountinfo")
    before = mountinfo.read_text()
    with Running(container):
        assert mountinfo.read_text() == before
        assert "container" not in container.exec(TOOL, "list", "/").stdout.split()
    assert mountinfo.read_text() == before


@pytest.mark.parametrize("fields", [{}, AS_USER], ids=["root", "user"])
def test_links_of_the_container_do_not_lead_to_the_node(pod, fields):
    container = run(pod, TOOL, "wait", "600", **fields)
    assert os.path.exists("/etc/shadow") and os.path.exists("/etc/kuasar-node/crictl.yaml")
    shell(container, "cd /container/tmp; ln -s /etc/shadow absolute; ln -s ../../../../../../etc/shadow relative; ln -s / top")
    for path in ("tmp/absolute", "tmp/relative", "tmp/top/etc/shadow", "data/outside", "../../../etc/shadow"):
        out, code = outcome_of(container, f"cat /container/{path}")
        assert code == 1 and "No such file" in out, path
    assert "busybox" in shell(container, "ls /container/tmp/top/bin").stdout  # the tools' root: theirs as well


def test_a_program_of_the_container_that_is_a_link_to_the_nodes(container):
    """It leads to nothing in the container, so there is none."""
    assert os.path.exists("/opt/busybox/bin/busybox")
    shell(container, "ln -s /opt/busybox/bin/busybox /container/bin/probe; ln -s /opt/busybox/bin/busybox /container/bin/id")
    assert exit_code(container.exec("probe", "true", check=False)) == 127
    assert container.exec("id", "-u").stdout == "0\n"  # the tool


# ---- it is in the container ---------------------------------------------------------------------


def test_namespaces_of_the_container(container):
    kinds = ("net", "ipc", "uts", "pid", "cgroup")
    told = shell(container, "for k in " + " ".join(kinds) + " mnt; do readlink /proc/self/ns/$k; done").stdout.split()
    pid = container.pid()
    assert told[:-1] == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    assert told[-1] not in (os.readlink(f"/proc/{pid}/ns/mnt"), os.readlink("/proc/self/ns/mnt"))


def test_its_network(pod, container):
    assert "eth0" in shell(container, "cat /proc/self/net/dev").stdout
    assert "eth0" in pathlib.Path(f"/proc/{container.pid()}/net/dev").read_text()


def test_its_processes_and_no_more_of_procfs(container):
    names = shell(container, "ls /proc").stdout.split()
    assert "1" in names and all(name.isdigit() or name in ("self", "thread-self") for name in names), names
    assert "wasm-worker" in shell(container, "cat /proc/1/comm").stdout
    assert "Read-only file system" in outcome_of(container, "echo 500 >/proc/self/oom_score_adj")[0]
    assert exit_code(shell(container, "readlink /proc/1/root", check=False)) == 1


@pytest.mark.parametrize("fields, uid", [({}, 0), (AS_USER, 1000)], ids=["root", "user"])
def test_it_has_what_the_container_has(pod, fields, uid):
    container = run(pod, TOOL, "wait", "600", **fields)
    assert container.exec("id", "-u").stdout == f"{uid}\n"
    with Running(container) as pid:
        assert pid in container.cgroup().pids()
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[caps], 16) == 0, caps
        assert status["NoNewPrivs"].strip() == "1" and status["Uid"].split() == [str(uid)] * 4
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            assert int(fd.name) < 3, os.readlink(fd)
        options = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        for line in options:
            if line.split()[4] in ("/", "/proc", "/container"):
                assert {"nosuid", "nodev"} <= set(line.split()[5].split(",")), line


def test_it_ends_with_its_container(container):
    with Running(container) as pid:
        container.stop(grace=0)
        until(lambda: not os.path.exists(f"/proc/{pid}"), "it ends")


# ---- a directory that cannot be trusted ---------------------------------------------------------


def test_others_can_write_there_meanwhile(container, tools):
    tools.chmod(0o777)
    try:
        with pytest.raises(Failed, match="debug_rootfs: .*has mode 0777.*chmod go-w"):
            shell(container, "true")
        assert exit_code(container.exec("tool", "exit", "5", check=False)) == 5  # needs it not
    finally:
        tools.chmod(0o755)
    assert shell(container, "echo again").stdout == "again\n"


def spoil(root, how):
    if how == "writable":
        root.chmod(0o775)
    elif how == "owner":
        os.chown(root, 1000, 1000)
    elif how == "link":
        root.rename(root.with_name("real"))
        root.symlink_to("real")
    elif how == "missing":
        shutil.rmtree(root)
    elif how == "container":
        (root / "container").rmdir()


@pytest.mark.parametrize("how, says", [
    ("writable", "has mode 0775, .*chmod go-w"),
    ("owner", "belongs to user 1000, .*chown root"),
    ("link", "no link"),
    ("missing", "No such file"),
    ("container", "has no directory container, .*make an empty one"),
])
def test_the_task_server_does_not_start_with_it(tmp_path, how, says):
    root, config = make_tools(tmp_path / "tools"), tmp_path / "wasm.toml"
    config.write_text(f'debug_rootfs = "{root}"\n')
    spoil(root, how)
    with pytest.raises(Failed, match=f"{config}: debug_rootfs: .*{says}"):
        run_program("wasm-task", "--dir", tmp_path / "state", "--config", config, timeout=20)


def test_only_an_absolute_path(tmp_path):
    config = tmp_path / "wasm.toml"
    for program in (kuasar.TASK, kuasar.SANDBOXER):
        config.write_text('debug_rootfs = "opt/debug"\n')
        with pytest.raises(Failed, match='debug_rootfs: "opt/debug" is not an absolute path'):
            run_program(program, "--dir", tmp_path / "state", "--listen", tmp_path / "sock", "--config", config, timeout=20)
    config.write_text('debug_rootfs = "/"\n')
    with pytest.raises(Failed, match="debug_rootfs: .*all of the node"):
        run_program(kuasar.TASK, "--dir", tmp_path / "state", "--config", config, timeout=20)


def test_it_is_off_where_nobody_asks_for_it(node, configured):
    node.restart_daemons()
    try:
        container = run(node.pod(), TOOL, "wait", "600")
        result = shell(container, "true", check=False)
        assert exit_code(result) == 127 and "debug" not in result.stdout + result.stderr
        assert outcome(container.pod, TOOL, "exit", "3")[0] == 3
    finally:
        node.restart_daemons("--config", configured)
