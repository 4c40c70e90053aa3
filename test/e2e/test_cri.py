"""What crictl users do, verb by verb, against our handler: same outcome as with runc."""

import os
import pathlib
import re

import pytest

import events
import node as kuasar
from node import MOUNTPOINTS, STATE, V2, Failed, crictl, crictl_json, exit_code, until

LOOP = ["sh", "-c", "while :; do sleep 1; done"]


@kuasar.not_in_machines("they are processes")
def test_no_shim_and_no_pause_process(node):
    before = kuasar.processes()
    pod = node.pod()
    new = {p: c for p, c in kuasar.processes().items() if p not in before}
    assert not new, f"a pod without containers has no process, found {new}"
    container = pod.run("sleep", "1000")
    new = {p: c for p, c in kuasar.processes().items() if p not in before}
    assert list(new) == [container.pid()], f"one process a container, found {new}"


def test_pod_and_container_lifecycle(node):
    pod = node.pod()
    assert pod.state() == "SANDBOX_READY"
    container = pod.create("sh", "-c", "echo out; echo err >&2; exit 3")
    assert container.state() == "CONTAINER_CREATED"
    container.start()
    assert container.wait_exit() == 3
    result = crictl("logs", container.id)
    assert result.stdout == "out\n" and result.stderr == "err\n"
    container.remove()
    pod.stop()
    assert pod.state() == "SANDBOX_NOTREADY"
    pod.remove()
    assert pod.id not in crictl("pods", "-q").stdout


def test_exec_sync(pod):
    container = pod.run(*LOOP)
    result = container.exec("sh", "-c", "echo out; echo err >&2")
    assert result.stdout == "out\n\nerr", "the two streams come apart, in crictl's order"
    result = container.exec("sh", "-c", "exit 7", check=False)
    assert exit_code(result) == 7
    result = container.exec("/nope", check=False)
    assert result.returncode != 0 and "/nope" in result.stderr, "the error names the program"
    result = crictl("exec", "-s", "--timeout", "1", container.id, "sleep", "30", check=False)
    assert result.returncode != 0 and re.search("timed? ?out|deadline", result.stderr, re.I), result.stderr


def test_logs_in_order(pod):
    container = pod.run("sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
    assert container.wait_exit() == 0
    assert container.logs().splitlines() == [f"line {i}" for i in range(2000)]


def test_stats_and_statsp(pod):
    container = pod.run("sh", "-c", "x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' a); while :; do :; done")
    def stats():
        s = crictl_json("stats", container.id)["stats"]
        return (s and s[0].get("cpu") and int(s[0]["cpu"]["usageCoreNanoSeconds"]["value"]) > 0
                and int(s[0]["memory"]["workingSetBytes"]["value"]) > 4 << 20)
    until(stats, "cpu and memory are reported")
    sp = crictl_json("statsp", "--id", pod.id)
    assert sp["stats"], sp


def test_update_limits(pod):
    container = pod.run(*LOOP, linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
    file = "/sys/fs/cgroup/memory.max" if V2 or kuasar.KIND == "vmm" else "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    read = lambda: int(container.exec("cat", file).stdout)
    assert read() == 64 << 20
    crictl("update", "--memory", str(96 << 20), container.id)
    assert read() == 96 << 20


def test_port_forward(node, pod):
    import subprocess
    pod.run("httpd", "-f", "-p", "8080", "-h", "/www")
    forward = subprocess.Popen(["crictl", "port-forward", pod.id, "18081:8080"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: b"kuasar test page" in kuasar.http_get(18081), "the page comes through the forward")
    finally:
        forward.kill()
        forward.wait()


def test_stop_sends_term_then_kill(pod):
    polite = pod.run("sh", "-c", "trap 'echo got TERM; exit 5' TERM; while :; do sleep 0.1; done")
    until(lambda: polite.state() == "CONTAINER_RUNNING", "it runs")
    polite.stop(grace=10)
    assert polite.status()["exitCode"] == 5 and "got TERM" in polite.logs()
    stubborn = pod.run("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in stubborn.logs(), "the trap is set")
    stubborn.stop(grace=1)
    assert stubborn.status()["exitCode"] == 137


def test_inspectp_has_info(pod):
    shown = crictl_json("inspectp", pod.id)
    assert shown["status"]["state"] == "SANDBOX_READY"
    namespaces = {n["type"]: n["path"] for n in shown["info"]["runtimeSpec"]["linux"]["namespaces"]}
    assert pathlib.Path(namespaces["network"]).exists()


def test_two_containers_share_the_network(pod):
    pod.run("httpd", "-f", "-p", "8080", "-h", "/www")
    client = pod.run(*LOOP)
    until(lambda: "kuasar test page" in client.exec("wget", "-qO-", "http://127.0.0.1:8080/", check=False).stdout,
          "one container reaches the other on localhost")


def test_a_pod_cannot_fill_the_node_by_its_etc_files(node, pod):
    """They are writable, as with runc, and live in memory."""
    container = pod.run(*LOOP)
    free = os.statvfs(STATE).f_bavail * os.statvfs(STATE).f_frsize
    for name in ("hosts", "hostname", "resolv.conf"):
        result = container.exec("dd", "if=/dev/zero", f"of=/etc/{name}", "bs=1M", "count=64", check=False)
        assert exit_code(result) == 1 and "No space left" in result.stderr
    assert free - os.statvfs(STATE).f_bavail * os.statvfs(STATE).f_frsize < 8 << 20
    assert node.pod().run("true").wait_exit() == 0


def test_ipc_and_hostname_are_the_pods(node):
    pod = node.pod(hostname="the-pod")
    a, b = pod.run(*LOOP), pod.run(*LOOP)
    ns = lambda c, kind: c.exec("readlink", f"/proc/self/ns/{kind}").stdout
    assert ns(a, "ipc") == ns(b, "ipc") != os.readlink("/proc/self/ns/ipc") + "\n"
    assert ns(a, "uts") == ns(b, "uts") and ns(a, "net") == ns(b, "net")
    assert ns(a, "pid") != ns(b, "pid")
    assert a.exec("hostname").stdout == "the-pod\n"
    assert a.exec("cat", "/etc/hostname").stdout == "the-pod\n"
    a.exec("sh", "-c", "echo shared > /dev/shm/x")
    assert b.exec("cat", "/dev/shm/x").stdout == "shared\n", "/dev/shm is the pod's"
    assert "64.0M" in a.exec("df", "-h", "/dev/shm").stdout


def test_what_one_pod_shares_no_other_has(node):
    containers = [pod.run(*LOOP) for pod in (node.pod(), node.pod()) for _ in range(2)]
    first, beside, *others = containers
    first.exec("sh", "-c", "echo mine >/dev/shm/file; touch /dev/mqueue/queue")
    assert beside.exec("cat", "/dev/shm/file").stdout == "mine\n" and beside.exec("ls", "/dev/mqueue").stdout == "queue\n"
    for other in others:
        assert other.exec("ls", "/dev/shm", "/dev/mqueue").stdout == "/dev/mqueue:\n\n/dev/shm:\n"
    kinds = ("ipc", "net") if kuasar.KIND == "vmm" else ("ipc", "uts", "net")
    own = [{kind: os.readlink(f"/proc/{c.pid()}/ns/{kind}") for kind in kinds} for c in containers]
    assert own[0] == own[1] and own[2] == own[3]
    assert all(own[0][kind] != own[2][kind] for kind in kinds)


def test_shm_is_as_with_runc(node):
    """To the page: whatever else we keep for a pod takes no room from it, and full it takes none from the files of /etc."""
    containers = {handler: node.pod(handler=handler).run(*LOOP) for handler in ("runc", kuasar.HANDLER)}
    look = "grep ' /dev/shm ' /proc/mounts; df /dev/shm; stat -c '%A %u:%g' /dev/shm"
    shown = {handler: container.exec("sh", "-c", look).stdout for handler, container in containers.items()}
    assert shown["runc"] == shown[kuasar.HANDLER]
    for container in containers.values():
        container.exec("dd", "if=/dev/zero", "of=/dev/shm/all", "bs=1M", "count=64")
        result = container.exec("dd", "if=/dev/zero", "of=/dev/shm/more", "bs=1", "count=1", check=False)
        assert exit_code(result) == 1 and "No space left" in result.stderr
        container.exec("dd", "if=/dev/zero", "of=/etc/hosts", "bs=64k", "count=1")


def test_etc_files(node):
    pod = node.pod(dns_config={"servers": ["10.9.8.7", "10.9.8.6"], "searches": ["a.example", "b.example"], "options": ["ndots:3"]})
    container = pod.run(*LOOP)
    assert container.exec("cat", "/etc/resolv.conf").stdout == \
        "search a.example b.example\nnameserver 10.9.8.7\nnameserver 10.9.8.6\noptions ndots:3\n"
    assert container.exec("cat", "/etc/hosts").stdout == pathlib.Path("/etc/hosts").read_text()
    plain = node.pod().run(*LOOP)
    assert plain.exec("cat", "/etc/resolv.conf").stdout == pathlib.Path("/etc/resolv.conf").read_text()
    read_only = pod.run(*LOOP, linux={"security_context": {"readonly_rootfs": True}})
    assert read_only.exec("sh", "-c", "echo x >> /etc/hosts", check=False).returncode != 0


@kuasar.not_in_machines("their runtime makes them")
def test_mount_points_are_not_made_in_each_container(pod):
    container = pod.run(*LOOP)
    upper = container.upper()
    shared = upper.stat().st_dev == MOUNTPOINTS.stat().st_dev  # not on the second kernel
    if shared:
        assert list(upper.rglob("*")) == []
        assert f":{MOUNTPOINTS}," in container.rootfs()
    else:
        assert str(MOUNTPOINTS) not in container.rootfs()
    # What is in the image stays, and all files are of one file system.
    assert container.exec("cat", "/www/index.html").stdout == "kuasar test page\n"
    devices = container.exec("stat", "-c", "%d", "/", "/etc", "/www/index.html", "/bin/busybox").stdout.split()
    assert len(set(devices)) == 1
    container.exec("sh", "-c", "echo 10.0.0.1 x >> /etc/hosts; echo mine > /etc/new")
    assert (upper / "etc/new").read_text() == "mine\n" and (upper / "etc/hosts").exists() != shared
    assert (MOUNTPOINTS / "etc/hosts").read_text() == ""


def test_containers_start_without_the_layer_of_mount_points(node, pod):
    away = MOUNTPOINTS.with_name("away")
    MOUNTPOINTS.rename(away)
    try:
        container = pod.run(*LOOP)
        assert (container.upper() / "etc/hosts").exists()
    finally:
        away.rename(MOUNTPOINTS)
    assert container.exec("cat", "/etc/hosts").stdout == pathlib.Path("/etc/hosts").read_text()


def test_a_mount_of_the_pod_wins_over_ours(node, pod):
    own = node.write("own-hosts", "10.1.2.3 own\n")
    container = pod.run(*LOOP, mounts=[{"container_path": "/etc/hosts", "host_path": own, "readonly": True}])
    assert container.exec("cat", "/etc/hosts").stdout == "10.1.2.3 own\n"


def test_restart_in_a_living_sandbox(pod):
    ip = pod.ip()
    for attempt in range(3):
        container = pod.run("sh", "-c", f"echo attempt {attempt}; exit {attempt}", name="again", attempt=attempt)
        assert container.wait_exit() == attempt
    assert pod.ip() == ip and pod.state() == "SANDBOX_READY"


@kuasar.not_in_machines("they are refused it")
def test_host_network(node):
    pod = node.pod(linux={"security_context": {"namespace_options": {"network": 2}}})
    container = pod.run(*LOOP)
    assert container.exec("readlink", "/proc/self/ns/net").stdout.strip() == os.readlink("/proc/self/ns/net")
    assert container.exec("hostname").stdout.strip() == os.uname().nodename
    pod.stop()


@kuasar.not_in_machines("they are refused it")
def test_host_ipc_and_pid(node):
    pod = node.pod(linux={"security_context": {"namespace_options": {"ipc": 2, "pid": 2}}})
    container = pod.run(*LOOP, linux={"security_context": {"namespace_options": {"ipc": 2, "pid": 2}}})
    assert container.exec("readlink", "/proc/self/ns/ipc").stdout.strip() == os.readlink("/proc/self/ns/ipc")
    assert container.exec("readlink", "/proc/self/ns/pid").stdout.strip() == os.readlink("/proc/self/ns/pid")


def test_shared_pid(node):
    shared = {"security_context": {"namespace_options": {"pid": 0}}}
    pod = node.pod(linux=shared)
    a, b = pod.run(*LOOP, linux=shared), pod.run("sleep", "777", linux=shared)
    assert "sleep 777" in a.exec("ps").stdout, "containers see each other"
    assert a.exec("sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").stdout.strip() == "kuasar-pod-init"
    # Orphans are reaped by pid 1.
    a.exec("sh", "-c", "(sleep 0.1 & ) ; true")
    until(lambda: " Z " not in a.exec("ps", "-o", "pid,stat,comm").stdout, "no zombie stays")
    # The init's death is the pod's death, and every container's.
    init = int(pathlib.Path(kuasar.STATE / "sandboxes" / pod.id / "sandbox.json").read_text().split('"init_pid":')[1].split(",")[0])
    os.kill(init, 9)
    until(lambda: pod.state() == "SANDBOX_NOTREADY", "the pod is not ready")
    lost = 255 if kuasar.KIND == "vmm" else 137  # what they did last, a machine that has ended does not say
    assert a.wait_exit() == lost and b.wait_exit() == lost


def test_sysctls(node):
    pod = node.pod(linux={"sysctls": {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "1024 65000"}})
    container = pod.run(*LOOP)
    assert container.exec("cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"
    assert container.exec("cat", "/proc/sys/kernel/shm_rmid_forced").stdout == "1\n"
    assert container.exec("cat", "/proc/sys/net/ipv4/ip_local_port_range").stdout.split() == ["1024", "65000"]
    assert container.exec("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").stdout == "0\n"


def test_default_sysctls_are_the_configurations(node):
    """What containerd's own pods may by default, unless the node says otherwise; what a pod asks for comes first."""
    def has(pod):
        container = pod.run(*LOOP)
        return [container.exec("cat", f"/proc/sys/net/ipv4/{name}").stdout.split() for name in ("ip_unprivileged_port_start", "ping_group_range")]
    assert has(node.pod()) == [["0"], ["0", "2147483647"]]
    node.restart_daemons("--config", node.write("plain.toml", "default_unprivileged_ports = false\ndefault_unprivileged_icmp = false\n"))
    try:
        assert has(node.pod()) == [["1024"], ["1", "0"]]
        assert has(node.pod(linux={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "700"}}))[0] == ["700"]
    finally:
        node.restart_daemons()


def lowest_oom_score():
    """Of a container on this node, which may lack CAP_SYS_RESOURCE."""
    may = pathlib.Path("/proc/self/oom_score_adj")
    before = may.read_text()
    try:
        may.write_text("-998")
        return -998
    except OSError:
        return 0
    finally:
        may.write_text(before)


def test_oom_score_is_the_containers(pod):
    for asked in (lowest_oom_score(), 500):
        container = pod.run(*LOOP, linux={"resources": {"oom_score_adj": asked}})
        if kuasar.KIND != "vmm":
            assert pathlib.Path(f"/proc/{container.pid()}/oom_score_adj").read_text() == f"{asked}\n"
        assert container.exec("cat", "/proc/self/oom_score_adj").stdout == f"{asked}\n"


def test_sysctl_of_the_host_is_refused(node):
    before = pathlib.Path("/proc/sys/kernel/pid_max").read_text()
    with pytest.raises(Failed, match="kernel.pid_max"):
        node.pod(linux={"sysctls": {"kernel.pid_max": "5000"}})
    assert pathlib.Path("/proc/sys/kernel/pid_max").read_text() == before


def test_missing_command_is_named(pod):
    container = pod.create("/does/not/exist")
    with pytest.raises(Failed, match="/does/not/exist"):
        container.start()
    status = container.status()
    assert status["state"] == "CONTAINER_EXITED" and status["exitCode"] == 128 and status["reason"] == "StartError"
    assert "/does/not/exist" in status["message"]


def test_user_and_read_only_rootfs(pod):
    container = pod.run(*LOOP, linux={"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}, "readonly_rootfs": True}})
    assert container.exec("id", "-u").stdout == "1000\n"
    assert container.exec("sh", "-c", "touch /x", check=False).returncode != 0


def test_privileged(node):
    privileged = {"security_context": {"privileged": True}}
    pod = node.pod(linux=privileged)
    container = pod.run(*LOOP, linux=privileged)
    container.exec("mount", "-t", "tmpfs", "none", "/mnt")
    plain = node.pod().run(*LOOP)
    assert plain.exec("mount", "-t", "tmpfs", "none", "/mnt", check=False).returncode != 0


def test_oom_is_reported(pod):
    container = pod.run("sh", "-c", "x=a; while :; do x=$x$x; done", linux={"resources": {"memory_limit_in_bytes": 16 << 20}})
    assert container.wait_exit() == 137
    assert container.status()["reason"] == "OOMKilled"


def test_image_of_the_container_is_its_root(pod):
    container = pod.run(*LOOP)
    assert container.exec("cat", "/www/index.html").stdout == "kuasar test page\n"
    container.exec("sh", "-c", "echo mine > /written")
    other = pod.run(*LOOP)
    assert other.exec("cat", "/written", check=False).returncode != 0, "roots are apart"


def test_pod_stop_ends_running_containers(node):
    pod = node.pod()
    containers = [pod.run("sh", "-c", "trap '' TERM; while :; do sleep 1; done") for _ in range(2)]
    pod.stop()
    for container in containers:
        assert container.status()["state"] == "CONTAINER_EXITED"
    pod.remove()


def test_pause_and_resume(pod):
    container = pod.run("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    until(lambda: container.logs(), "it prints")
    kuasar.run("ctr", "-n", "k8s.io", "tasks", "pause", container.id)
    assert "PAUSED" in kuasar.run("ctr", "-n", "k8s.io", "tasks", "ls").stdout
    frozen = container.logs()
    import time
    time.sleep(0.3)
    assert container.logs() == frozen
    kuasar.run("ctr", "-n", "k8s.io", "tasks", "resume", container.id)
    until(lambda: container.logs() != frozen, "it prints again")
    kuasar.run("ctr", "-n", "k8s.io", "tasks", "pause", container.id)
    container.stop(grace=0)
    assert container.status()["exitCode"] == 137, "a paused container can be killed"


def test_events_reach_containerd(node, pod):
    with events.watched(node.dir) as topics:
        container = pod.run("sh", "-c", "exit 4")
        container.wait_exit()
        container.remove()
        until(lambda: "/tasks/delete" in topics(container), "the delete event")
        assert topics(container) == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


@kuasar.not_in_machines("their kernel has limits of its own")
def test_limits_and_environment_are_as_with_runc(node):
    """What our daemons raised for themselves, or were given by a service manager, is not a container's."""
    script = "ulimit -a; env | sort | grep -v HOSTNAME; grep -E 'SigBlk|NoNewPrivs|Seccomp:|Cap' /proc/self/status; umask; id"
    containers = {handler: node.pod(handler=handler).run(*LOOP) for handler in ("runc", kuasar.HANDLER)}
    shown = {handler: c.exec("sh", "-c", script).stdout for handler, c in containers.items()}
    assert shown["runc"] == shown[kuasar.HANDLER]
    # Stock passes on what its own starter ignored (GNU make: signals 32 and 33); with us nothing is ignored.
    assert containers[kuasar.HANDLER].exec("grep", "SigIgn", "/proc/self/status").stdout.split()[1].strip("0") == ""
