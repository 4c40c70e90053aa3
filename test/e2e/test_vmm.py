"""Pods that are virtual machines: a kernel of their own, and everything else as with any pod."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tarfile

import pytest

import node as kuasar
from node import until

if kuasar.KIND != "vmm":
    pytest.skip("of virtual machines", allow_module_level=True)


@pytest.fixture
def pod(node, request):
    return machine(node, getattr(request, "param", "uml"))


def machine(node, vmm="uml", **fields):
    return node.pod(hostname="machine", annotations={"io.kuasar.vmm": vmm}, **fields)


# QEMU without hardware for it is slow: only what is different by the monitor.
monitors = pytest.mark.parametrize("pod", ["uml", "qemu"], indirect=True)


def machine_pids(pod):
    """Of the processes of a pod on the host."""
    inode = kuasar.of_space(kuasar.STATE / f"sandboxes/{pod.id}/ns/ipc").stat().st_ino
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/ipc").stat().st_ino == inode:
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def monitor(pod):
    return json.loads((kuasar.STATE / f"sandboxes/{pod.id}/vm.json").read_text())["pid"]


@monitors
def test_a_kernel_of_its_own(pod):
    c = pod.run("sleep", "1000")
    guest = c.exec("uname", "-r").stdout.strip()
    assert guest != os.uname().release
    assert c.exec("cat", "/proc/sys/kernel/hostname").stdout.strip() == pod.config["hostname"]


@monitors
def test_logs_exit_codes_and_signals(pod):
    c = pod.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert c.wait_exit() == 7
    log = [line.split(" ", 3) for line in c.log.read_text().splitlines()]
    assert sorted((kind, text) for _, kind, _, text in log) == [("stderr", "err"), ("stdout", "out")]
    killed = pod.run("sh", "-c", "sh -c 'kill -9 $$'; exit $?")
    assert killed.wait_exit() == 137


@monitors
def test_exec(pod):
    c = pod.run("sleep", "1000")
    result = c.exec("sh", "-c", "echo out; echo err >&2")
    assert result.stdout == "out\n\nerr"  # crictl's order
    data = os.urandom(1 << 20)
    digest = subprocess.run(["crictl", "exec", "-i", c.id, "sha256sum"], input=data, capture_output=True, timeout=60, check=True)
    assert digest.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    for code in (0, 1, 255):
        assert kuasar.exit_code(c.exec("sh", "-c", f"exit {code}", check=False)) == code


def test_a_missing_command_is_named(pod):
    c = pod.create("/no/such/program")
    with pytest.raises(kuasar.Failed) as e:
        c.start()
    assert "/no/such/program" in e.value.err


@monitors
def test_containers_share_the_network_and_have_the_pod_s_address(pod):
    server = pod.run("httpd", "-f", "-p", "8080", "-h", "/www")
    client = pod.run("sleep", "1000")
    until(lambda: client.exec("wget", "-qO-", "http://127.0.0.1:8080/", check=False).returncode == 0, "the other container answers")
    page = kuasar.run("curl", "-s", f"http://{pod.ip()}:8080/").stdout
    assert page == server.exec("cat", "/www/index.html").stdout
    assert pod.ip() in client.exec("ip", "addr").stdout


@monitors
def test_nothing_is_lost_of_much_output(pod):
    c = pod.run("sh", "-c", "head -c 5000000 /dev/urandom >/big; sha256sum /big; sleep 1000")
    until(lambda: kuasar.crictl("logs", c.id).stdout.strip(), "the sum is in the log")
    out = kuasar.crictl("exec", c.id, "cat", "/big", text=False).stdout
    assert hashlib.sha256(out).hexdigest() == c.exec("sha256sum", "/big").stdout.split()[0]
    assert len(c.exec("sh", "-c", "yes | head -n 2000000").stdout) == 4000000


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "[::1]"])
def test_port_forward(pod, address):
    """Also to a program that listens on the guest's loopback alone."""
    c = pod.run("sh", "-c", f"head -c 3000000 /dev/urandom >/big; cp /www/index.html /; exec httpd -f -p {address}:8080 -h /")
    # crictl gives up for good with the first connection that is refused.
    until(lambda: ":8080 " in c.exec("netstat", "-tln").stdout, "the server listens")
    forward = subprocess.Popen(["crictl", "port-forward", pod.id, "18081:8080"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: b"kuasar test page" in kuasar.http_get(18081, "/index.html"), "the page comes through the forward")
        digest = hashlib.sha256(kuasar.run("curl", "-s", "http://127.0.0.1:18081/big", text=False).stdout).hexdigest()
        assert digest == c.exec("sha256sum", "/big").stdout.split()[0]
    finally:
        forward.kill()
        forward.wait()


@monitors
def test_etc_files_and_volumes(pod, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    c = pod.run("sleep", "1000", mounts=[{"host_path": str(tmp_path), "container_path": "/vol"},
                                          {"host_path": str(tmp_path / "file"), "container_path": "/one", "readonly": True}])
    assert c.exec("cat", "/vol/file", "/one").stdout == "from the host\nfrom the host\n"
    c.exec("sh", "-c", "echo from the guest >/vol/back")
    assert (tmp_path / "back").read_text() == "from the guest\n"
    assert c.exec("sh", "-c", "echo x >/one", check=False).returncode != 0
    (tmp_path / "later").write_text("later\n")
    assert c.exec("cat", "/vol/later").stdout == "later\n"
    assert c.exec("cat", "/etc/hostname").stdout.strip() == pod.config["hostname"]
    assert "127.0.0.1" in c.exec("cat", "/etc/hosts").stdout


@monitors
def test_containers_share_a_volume(pod, tmp_path):
    """What one does the others see, at once; who has it read-only and had a look before, as what the host does, within a second."""
    volume = {"host_path": str(tmp_path), "container_path": "/vol"}
    first, second = (pod.run("sleep", "1000", mounts=[volume]) for _ in range(2))
    reader = pod.run("sleep", "1000", mounts=[volume | {"readonly": True}, volume | {"container_path": "/rw"}])
    first.exec("sh", "-c", "mkdir /vol/dir; echo first >/vol/dir/file")
    second.exec("sh", "-c", "echo second >>/vol/dir/file; mv /vol/dir/file /vol/dir/moved")
    for c, name in ((first, "/vol"), (second, "/vol"), (reader, "/rw"), (reader, "/vol")):
        assert c.exec("cat", f"{name}/dir/moved").stdout == "first\nsecond\n"
        assert c.exec("ls", f"{name}/dir").stdout == "moved\n"
    for i in range(5):
        first.exec("sh", "-c", f"echo {i} >>/vol/dir/log")
        assert second.exec("cat", "/vol/dir/log").stdout == reader.exec("cat", "/rw/dir/log").stdout == "".join(f"{n}\n" for n in range(i + 1))
    first.exec("rm", "/vol/dir/log")
    assert reader.exec("touch", "/vol/dir/no", check=False).returncode != 0
    reader.exec("touch", "/rw/dir/yes")
    assert first.exec("ls", "/vol/dir").stdout == "moved\nyes\n"
    first.stop(grace=0)
    first.remove()
    second.exec("sh", "-c", "echo third >>/vol/dir/moved")
    assert reader.exec("tail", "-n", "1", "/rw/dir/moved").stdout == "third\n"
    until(lambda: reader.exec("tail", "-n", "1", "/vol/dir/moved").stdout == "third\n", "it is seen read-only, too")
    later = pod.run("sleep", "1000", mounts=[volume])
    assert later.exec("cat", "/vol/dir/moved").stdout == "first\nsecond\nthird\n"


def test_shm_is_the_pods_and_as_with_others(pod):
    a, b = pod.run("sleep", "1000"), pod.run("sleep", "1000")
    a.exec("sh", "-c", "echo shared >/dev/shm/x")
    assert b.exec("cat", "/dev/shm/x").stdout == "shared\n"
    line = next(line.split() for line in a.exec("cat", "/proc/mounts").stdout.splitlines() if " /dev/shm " in line)
    assert line[0] == "shm" and line[2] == "tmpfs" and "size=65536k" in line[3].split(",")


def test_a_dump_has_the_console_and_follows_no_link_out(node, pod):
    def console():
        path = node.dir / f"dump-{os.urandom(4).hex()}.tar"
        kuasar.run("kuasar-ctl", "dump", "-o", path, check=False)
        with tarfile.open(path) as tar:
            return {m.name.removeprefix("kuasar-dump/"): tar.extractfile(m).read() for m in tar if m.isfile()}
    name = f"logs/vmm-console-{pod.id}.log"
    assert b"eth0" in console()[name]  # the kernel's word
    log = kuasar.of_space(kuasar.STATE / f"sandboxes/{pod.id}/vm/console.log")
    log.unlink()
    log.symlink_to("/etc/shadow")
    files = console()
    assert name not in files and name in files["errors"].decode()
    assert not any(b"root:" in text for file, text in files.items() if file.startswith("logs/vmm-console"))


def test_sockets_of_the_host_are_refused_with_the_reason(pod):
    c = pod.create("true", mounts=[{"host_path": kuasar.CONTAINERD_SOCKET, "container_path": "/s"}])
    with pytest.raises(kuasar.Failed) as e:
        c.start()
    assert "is a socket" in e.value.err and kuasar.CONTAINERD_SOCKET in e.value.err


def test_read_only_is_so_for_the_whole_guest(pod, tmp_path):
    """By what serves the files: the guest's own mounts do not count."""
    c = pod.run("sleep", "1000", mounts=[{"host_path": str(tmp_path), "container_path": "/vol", "readonly": True},
                                          {"host_path": str(tmp_path), "container_path": "/rw"}])
    server = max(pid for pid in machine_pids(pod) if pathlib.Path(f"/proc/{pid}/comm").read_text() == "virtiofsd\n")
    options = {line.split()[4]: line.split()[5].split(",") for line in pathlib.Path(f"/proc/{server}/mountinfo").read_text().splitlines()}
    volumes = sorted((path for path in options if path.startswith("/volumes/")), key=lambda path: options[path][0])
    assert [options[path][0] for path in volumes] == ["ro", "rw"]
    assert options["/"][0] == "ro" and options["/etc"][0] == options[f"/{c.id}/rootfs"][0] == "rw"
    assert set(options) == {"/", "/etc", f"/{c.id}/rootfs", *volumes}, "and nothing else of the host"


def test_read_only_without_the_mounts_below(pod, tmp_path):
    """As an OCI runtime has it, unless a mount is to be read-only with all that is below."""
    (tmp_path / "sub").mkdir()
    kuasar.run("mount", "-t", "tmpfs", "sub", tmp_path / "sub")
    try:
        c = pod.run("sleep", "1000", mounts=[{"host_path": str(tmp_path), "container_path": "/vol", "readonly": True}])
        assert "Read-only file system" in c.exec("sh", "-c", "touch /vol/x 2>&1; true").stdout
        c.exec("touch", "/vol/sub/x")
        assert (tmp_path / "sub/x").exists()
        c.stop(grace=0)
        c.remove()
    finally:
        kuasar.run("umount", tmp_path / "sub")


def test_mounts_of_a_guest_cannot_be_the_hosts(pod, tmp_path):
    kuasar.run("mount", "--bind", tmp_path, tmp_path)
    kuasar.run("mount", "--make-shared", tmp_path)
    try:
        c = pod.create("true", mounts=[{"host_path": str(tmp_path), "container_path": "/vol", "propagation": 2}])
        with pytest.raises(kuasar.Failed) as e:
            c.start()
        assert "mounts[" in e.value.err and "HostToContainer" in e.value.err
    finally:
        kuasar.run("umount", tmp_path)


def test_mounts_of_the_host_stay_when_a_container_goes(pod, tmp_path):
    (tmp_path / "sub").mkdir()
    kuasar.run("mount", "--bind", tmp_path, tmp_path)
    kuasar.run("mount", "--make-shared", tmp_path)
    kuasar.run("mount", "-t", "tmpfs", "sub", tmp_path / "sub")
    try:
        c = pod.run("sleep", "1000", mounts=[{"host_path": str(tmp_path), "container_path": "/vol", "propagation": 1}])
        kuasar.run("mount", "-t", "tmpfs", "-o", "size=64k", "later", tmp_path / "sub")
        (tmp_path / "sub/new").write_text("later\n")
        assert c.exec("cat", "/vol/sub/new").stdout == "later\n"
        c.stop(grace=0)
        c.remove()
        assert (tmp_path / "sub/new").read_text() == "later\n"
    finally:
        kuasar.run("umount", "-R", tmp_path)


@monitors
def test_limits_hold_in_the_guest(pod):
    c = pod.run("sh", "-c", "cat /sys/fs/cgroup/memory.max; x=$(head -c 100m /dev/zero | tr '\\0' x); echo $x | wc -c",
                linux={"resources": {"memory_limit_in_bytes": 32 << 20}})
    c.wait_exit()
    assert c.logs().splitlines()[0] == str(32 << 20)
    assert c.status()["reason"] == "OOMKilled"


def test_stop_and_kill(pod):
    gentle = pod.run("sh", "-c", "trap 'exit 5' TERM; echo trapped; while :; do sleep 0.1; done")
    until(lambda: "trapped" in kuasar.crictl("logs", gentle.id).stdout, "it has its trap")
    gentle.stop()
    assert gentle.wait_exit() == 5
    stubborn = pod.run("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    stubborn.stop(grace=1)
    assert stubborn.wait_exit() == 137


@monitors
def test_a_container_is_restarted_in_the_living_machine(pod):
    before = monitor(pod)
    for attempt in range(3):
        c = pod.run("echo", str(attempt), name="again", attempt=attempt)
        assert c.wait_exit() == 0
        c.remove()
    assert monitor(pod) == before


def test_shared_pid_namespace(node):
    pod = node.pod(linux={"security_context": {"namespace_options": {"pid": 0}}})
    a = pod.run("sleep", "4711", linux={"security_context": {"namespace_options": {"pid": 0}}})
    b = pod.run("sleep", "1000", linux={"security_context": {"namespace_options": {"pid": 0}}})
    assert "sleep 4711" in b.exec("ps").stdout
    assert "vmm-task" not in a.exec("ps").stdout


def test_what_a_machine_cannot_be_is_refused(node):
    with pytest.raises(kuasar.Failed) as e:
        node.pod(linux={"security_context": {"namespace_options": {"network": 2}}})
    assert "host's network" in e.value.err


@monitors
def test_processes_have_no_rights(pod):
    pod.run("sleep", "1000")
    names = {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in machine_pids(pod)}
    assert len(names) >= 3
    serves_files = max(pid for pid, name in names.items() if name == "virtiofsd")  # another one waits for it
    for pid, name in names.items():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status, name
        if name != "virtiofsd" or pid == serves_files:
            assert "Seccomp:\t2" in status, (name, status)
        if name != "virtiofsd":  # root in a user namespace of its own
            assert "CapEff:\t0000000000000000" in status and "Uid:\t0\t" not in status, (name, status)
        else:
            assert os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino


def fails(pod, container, timeout=5):
    until(lambda: pod.state() == "SANDBOX_NOTREADY", "the pod is not ready", timeout)
    until(lambda: container.state() == "CONTAINER_EXITED", "the container has ended", timeout)
    assert container.status()["exitCode"] != 0


@pytest.mark.parametrize("vmm, which", [("uml", "kernel-uml"), ("uml", "vhost-device-v"), ("uml", "virtiofsd"), ("qemu", "qemu-system-x86")])
def test_a_killed_process_of_the_machine_ends_the_pod(node, vmm, which):
    """At once: not even a container that waits for a file which nobody serves any more holds it up."""
    pod = machine(node, vmm)
    c = pod.run("sh", "-c", "while :; do touch /file; done")
    victims = [pid for pid in machine_pids(pod) if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith(which[:15])]
    os.kill(victims[0], signal.SIGKILL)
    fails(pod, c, timeout=4)  # a task server that asks the guest to end it waits for five
    pod.remove()
    assert not list(kuasar.STATE.glob(f"sandboxes/{pod.id}"))


def test_configuration(node):
    """With keys of upstream's files, of which some have no effect."""
    text = """[sandbox]
log_level = ""
[hypervisor]
memory_in_mb = 200
kernel_params = "kuasar.test=1"
machine_type = "pc"
"""
    node.restart_daemons("--config", node.write("vmm.toml", text))
    try:
        c = node.pod().run("sleep", "1000")
        assert "kuasar.test=1" in c.exec("cat", "/proc/cmdline").stdout.split()
        total = int(re.search(r"MemTotal: +(\d+) kB", c.exec("cat", "/proc/meminfo").stdout)[1])
        assert 100 << 10 < total < 200 << 10
    finally:
        node.restart_daemons()


def test_a_machine_that_hangs_is_ended(node):
    pod = node.pod()
    c = pod.run("sleep", "1000")
    os.kill(monitor(pod), signal.SIGSTOP)
    fails(pod, c, 12)
    pod.remove()
    assert not list(kuasar.STATE.glob(f"sandboxes/{pod.id}"))


def test_what_runs_qemus_guests_is_found_out_once_and_said(node):
    found, log = kuasar.STATE / "accelerator-qemu", kuasar.LOGS / "vmm-sandboxer.log"
    found.unlink(missing_ok=True)
    begin = log.stat().st_size
    for _ in range(2):
        machine(node, "qemu").remove()
    said = re.findall(r"qemu: guests run by (kvm|tcg)$", log.read_bytes()[begin:].decode(), re.M)
    assert len(said) == 1
    assert found.read_text().startswith(f"{said[0]} ")


@monitors
def test_sandboxer_killed(node, pod):
    c = pod.run("sleep", "1000")
    node.restart_sandboxer()
    assert c.exec("echo", "unhurt").stdout == "unhurt\n"
    assert pod.state() == "SANDBOX_READY"
    assert pod.run("echo", "more").wait_exit() == 0


def test_five_machines(node):
    pods = [node.pod(hostname=f"machine-{i}") for i in range(5)]
    containers = [pod.run("sleep", "1000") for pod in pods]
    assert [c.exec("cat", "/proc/sys/kernel/hostname").stdout.strip() for c in containers] == [pod.config["hostname"] for pod in pods]
    assert len({pod.ip() for pod in pods}) == len({monitor(pod) for pod in pods}) == 5
