"""Pods with a user namespace: what is inside belongs to the pod's users, and nothing of the host does."""

import json
import os
import shutil
import signal
import subprocess
import uuid

import pytest

import node as kuasar
from node import STATE, Failed, crictl, until

LOOP = ["sh", "-c", "while :; do sleep 1; done"]
UID, GID = 100000, 200000
NETWORK, HOST = {}, {"network": 2}  # namespace_options of a pod with a network of its own, of one on the host's


def users(**changes):
    return {"mode": 0, "uids": [mapping(UID)], "gids": [mapping(GID)]} | changes


def mapping(host, inside=0, length=65536):
    return {"host_id": host, "container_id": inside, "length": length}


def with_namespaces(fields, options):
    """The fields of a configuration, with these namespace options."""
    linux = fields.setdefault("linux", {})
    kuasar.merge(linux, {"security_context": {"namespace_options": {"pid": 1} | options}})
    return fields


class Users:
    """A pod, and its containers with the namespace options that containerd wants to be the same."""

    def __init__(self, node, options, handler=kuasar.HANDLER, **fields):
        self.options = {"userns_options": users()} | options
        self.pod = node.pod(handler, **with_namespaces(fields, self.options))
        self.id = self.pod.id

    def create(self, *command, options=None, **fields):
        return self.pod.create(*command, **with_namespaces(fields, self.options | (options or {})))

    def run(self, *command, **fields):
        return self.create(*command, **fields).start()


def read(container, *argv):
    return container.exec(*argv).stdout.strip()


def owner(container, path):
    return read(container, "stat", "-c", "%u:%g", path)


def ns_of(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


@pytest.fixture(params=["pod-network", "host-network"])
def options(request):
    return {"pod-network": NETWORK, "host-network": HOST}[request.param]


def test_ids_files_and_mounts(node, options):
    pod = Users(node, options, hostname="with-users", dns_config={"servers": ["10.0.0.10"]})
    container = pod.run(*LOOP)
    assert read(container, "cat", "/proc/self/uid_map").split() == ["0", str(UID), "65536"]
    assert read(container, "cat", "/proc/self/gid_map").split() == ["0", str(GID), "65536"]
    pid = container.pid()
    status = os.stat(f"/proc/{pid}")
    assert (status.st_uid, status.st_gid) == (UID, GID)
    # The image, the files of /etc: the pod's root's, and to be written by it.
    for path in ("/", "/bin/busybox", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        assert owner(container, path) == "0:0", path
    assert "nameserver 10.0.0.10" in read(container, "cat", "/etc/resolv.conf")
    read(container, "sh", "-c", "echo '# more' >>/etc/hosts; echo x >/new; chown 1000:1000 /new")
    made = os.stat(f"/proc/{pid}/root/new")
    assert (made.st_uid, made.st_gid) == (UID + 1000, GID + 1000)
    assert os.stat(kuasar.of_space(STATE / f"sandboxes/{pod.id}/etc/hosts")).st_uid == 0
    if options is NETWORK:
        assert read(container, "hostname") == "with-users"
        assert read(container, "cat", "/etc/hostname") == "with-users"
    # What the kernel lets nobody mount but the users whom the namespaces belong to.
    read(container, "sh", "-c", "grep -q ' /dev/mqueue mqueue ' /proc/mounts && touch /dev/mqueue/q && rm /dev/mqueue/q")
    read(container, "sh", "-c", "ls /sys/class/net | grep -q lo")
    read(container, "sh", "-c", "echo shared >/dev/shm/file")
    other = pod.run(*LOOP)
    assert read(other, "cat", "/dev/shm/file") == "shared"
    assert ns_of(other.pid(), "user") == ns_of(pid, "user") == f"user:[{kuasar.of_space(STATE / f'sandboxes/{pod.id}/ns/user').stat().st_ino}]"


def test_inspection_shows_it(node, options):
    """What NRI plugins see as well."""
    pod = Users(node, options)
    spec = kuasar.crictl_json("inspectp", pod.id)["info"]["runtimeSpec"]["linux"]
    paths = {n["type"]: n["path"] for n in spec["namespaces"]}
    assert os.path.samefile(paths["user"], kuasar.of_space(STATE / f"sandboxes/{pod.id}/ns/user"))
    assert spec["uidMappings"] == [{"containerID": 0, "hostID": UID, "size": 65536}]
    assert spec["gidMappings"] == [{"containerID": 0, "hostID": GID, "size": 65536}]


@pytest.mark.parametrize("handler", [kuasar.HANDLER, f"{kuasar.HANDLER}-streaming"], ids=["fifo", "streaming"])
def test_stdio_belongs_to_the_process(node, options, handler):
    """A process may open its standard input and output anew, whoever it is."""
    pod = Users(node, options, handler)
    for security in ({}, {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}}):
        container = pod.run("sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr; id -u", linux={"security_context": dict(security)})
        assert container.wait_exit() == 0, container.logs()
        result = crictl("logs", container.id)
        assert result.stdout == f"out\n{security.get('run_as_user', {}).get('value', 0)}\n" and result.stderr == "err\n"
        loop = pod.run(*LOOP, linux={"security_context": dict(security)})
        assert read(loop, "sh", "-c", "echo again >/dev/stdout") == "again"
        assert kuasar.run("crictl", "exec", "-i", loop.id, "cat", "/dev/stdin", input="typed").stdout == "typed"
        reader = pod.run("sh", "-c", "cat /dev/stdin; echo end >/dev/stderr", stdin=True, stdin_once=True, linux={"security_context": dict(security)})
        assert kuasar.run("crictl", "attach", "-i", reader.id, input="attached\n").stdout.startswith("attached\n")
        assert reader.wait_exit() == 0 and crictl("logs", reader.id).stderr == "end\n"


def test_default_sysctls(node):
    container = Users(node, NETWORK).run(*LOOP)
    assert read(container, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert read(container, "cat", "/proc/sys/net/ipv4/ping_group_range").split() != ["0", "2147483647"]
    container = Users(node, NETWORK, linux={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "700"}}).run(*LOOP)
    assert read(container, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "700"


def test_shared_pid_namespace(node, options):
    pod = Users(node, options | {"pid": 0})
    first, second = pod.run(*LOOP), pod.run(*LOOP)
    assert read(first, "cat", "/proc/1/comm") == "kuasar-pod-init"
    assert owner(first, "/proc/1") == "0:0", "it has the pod's users"
    assert ns_of(first.pid(), "pid") == ns_of(second.pid(), "pid")
    # pid 1 has nothing that a container could use.
    assert read(first, "sh", "-c", "ls /proc/1/root/ 2>/dev/null | wc -l") == "0"
    first.stop(grace=0)
    assert second.exec("echo", "alive").stdout == "alive\n"


def test_pid_namespace_of_another_container(node):
    pod = Users(node, NETWORK)
    target = pod.run(*LOOP)
    guest = pod.run(*LOOP, options={"pid": 3, "target_id": target.id})
    assert ns_of(guest.pid(), "pid") == ns_of(target.pid(), "pid")
    assert read(guest, "cat", "/proc/1/uid_map").split() == ["0", str(UID), "65536"]


def test_mapped_volume(node, options):
    """Mounts with mappings of their own are the runtime's: files keep the ids inside that they have on the host."""
    volume = node.dir / f"volume-{uuid.uuid4().hex[:8]}"
    volume.mkdir()
    (volume / "file").write_text("text")
    os.chown(volume / "file", 1234, 4321)
    pod = Users(node, options)
    mount = {"host_path": str(volume), "container_path": "/volume"}
    mapped = pod.run(*LOOP, mounts=[mount | {"uidMappings": [mapping(UID)], "gidMappings": [mapping(GID)]}])
    assert owner(mapped, "/volume/file") == "1234:4321"
    read(mapped, "sh", "-c", "echo new >/volume/new")
    assert os.stat(volume / "new").st_uid == 0
    plain = pod.run(*LOOP, mounts=[mount])
    assert owner(plain, "/volume/file") == "65534:65534", "nobody's without"
    shutil.rmtree(volume)


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_containerd_restarts(node, how):
    pod = Users(node, {"pid": 0}, hostname="stays")
    container = pod.run(*LOOP)
    node.stop_containerd(how)
    node.start_containerd()
    assert container.state() == "CONTAINER_RUNNING"
    for c in (container, pod.run(*LOOP)):
        assert read(c, "cat", "/proc/self/uid_map").split() == ["0", str(UID), "65536"]
        assert read(c, "hostname") == read(c, "cat", "/etc/hostname") == "stays"
        assert owner(c, "/etc/resolv.conf") == "0:0"
        read(c, "sh", "-c", "test -w /dev/shm && grep -q ' /dev/mqueue ' /proc/mounts")
    container.stop(grace=0)
    container.remove()


def test_sandboxer_is_killed(node, options):
    node.remove_pods()
    before = kuasar.census()
    pod = Users(node, options | {"pid": 0})
    container = pod.run(*LOOP)
    node.restart_sandboxer()
    assert pod.pod.state() == "SANDBOX_READY"
    late = pod.run(*LOOP)
    assert ns_of(late.pid(), "user") == ns_of(container.pid(), "user")
    node.kill_sandboxer()
    # What it would need is gone: it is found out at the start.
    kuasar.in_space("umount", STATE / f"sandboxes/{pod.id}/ns/user")
    node.start_sandboxer(*node.daemon_args)
    until(lambda: pod.pod.state() == "SANDBOX_NOTREADY", "the pod is found dead")
    node.remove_pods()
    kuasar.nothing_left(before)


def test_task_server_is_killed(node):
    node.remove_pods()
    before = kuasar.census()
    pod = Users(node, NETWORK)
    container = pod.run(*LOOP)
    old = node.task_pid()
    os.kill(old, signal.SIGKILL)
    assert container.wait_exit() == 255
    until(lambda: kuasar.pids_of(kuasar.TASK) not in ([], [old]), "a successor runs")
    assert pod.run("sh", "-c", "exit 3").wait_exit() == 3
    node.remove_pods()
    kuasar.nothing_left(before)


def test_everything_is_removed(node, options):
    node.remove_pods()
    before = kuasar.census()
    pod = Users(node, options | {"pid": 0})
    containers = [pod.run(*LOOP) for _ in range(3)]
    containers[0].stop(grace=0)
    containers[0].remove()
    assert len([m for m in kuasar.mounts() if containers[1].id in m]) == 1, "one mount a container"
    # Its users' processes end with it, also those that are in none of its containers.
    stray = subprocess.Popen(["nsenter", f"--user={kuasar.of_space(STATE)}/sandboxes/{pod.id}/ns/user", "sleep", "1000"])
    until(lambda: ns_of(stray.pid, "user") == ns_of(containers[1].pid(), "user"), "the stray is in")
    node.remove_pods()
    assert stray.wait(timeout=10) == -signal.SIGKILL
    kuasar.nothing_left(before)


BAD = {
    "mode-CONTAINER": (users(mode=1), "userns_options.mode: want POD or NODE"),
    "mode-TARGET": (users(mode=3), "userns_options.mode: want POD or NODE"),
    "no-root": (users(uids=[mapping(UID, 1)]), "userns_options.uids: container_id is 1, want 0"),
    "beyond": (users(gids=[mapping(4294901761)]), "userns_options.gids: 65536 ids from host_id 4294901761 on"),
    "two": (users(uids=[mapping(UID, 0, 10), mapping(UID + 100, 10, 10)]), "userns_options.uids: 2 mappings, want exactly one"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(node, options, what):
    node.remove_pods()
    before = kuasar.census()
    bad, text = BAD[what]
    if options is NETWORK and what in ("two", "beyond"):
        text = ""  # containerd refuses it itself, or cannot make the network
    with pytest.raises(Failed) as refused:
        node.pod(linux={"security_context": {"namespace_options": {"pid": 1, "userns_options": bad} | options}})
    if text:
        assert f"linux.security_context.namespace_options.{text}" in refused.value.err and "InvalidArgument" in refused.value.err, refused.value.err
    node.remove_pods()
    kuasar.nothing_left(before)


@pytest.mark.skipif(kuasar.CONTAINERD.startswith("2.1"), reason="containerd 2.1 asks only runtimes of its own type for features")
def test_handler_offers_it(node):
    """What kubelet looks for before it sends such a pod."""
    handlers = {h.get("name", ""): h.get("features", {}) for h in json.loads(crictl("info").stdout)["runtimeHandlers"]}
    stock, ours = handlers["runc"], handlers[kuasar.HANDLER]
    assert stock == ours and ours["user_namespaces"] and ours["recursive_read_only_mounts"], handlers


def test_crun(node):
    node.restart_daemons("--config", node.write("crun-users.toml", 'runtime = "crun"\n'))
    try:
        test_ids_files_and_mounts(node, NETWORK)
        test_ids_files_and_mounts(node, HOST)
        for handler in (kuasar.HANDLER, f"{kuasar.HANDLER}-streaming"):
            test_stdio_belongs_to_the_process(node, NETWORK, handler)
        test_shared_pid_namespace(node, NETWORK)
        test_mapped_volume(node, NETWORK)
    finally:
        node.restart_daemons()
