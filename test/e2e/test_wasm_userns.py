"""Modules in pods with a user namespace. (test_userns has native containers, of this kind's pods as well.)"""

import os
import pathlib
import shutil
import subprocess
import uuid

import pytest

import node as kuasar
import wasm
from node import STATE, Failed, exit_code, until
from test_userns import GID, HOST, NETWORK, UID, Users, mapping, ns_of, users
from test_wasm import CACHE, TOOL

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("image")

BUSYBOX = {"host_path": "/opt/busybox/bin/busybox", "container_path": "/busybox", "readonly": True}


@pytest.fixture(params=["pod-network", "host-network"])
def pod(node, handler, request):
    return Users(node, {"pod-network": NETWORK, "host-network": HOST}[request.param], handler, hostname="with-users")


def run(pod, *command, **fields):
    return pod.run(*command, image=wasm.IMAGE, **fields)


def outcome(pod, *command, **fields):
    container = run(pod, *command, **fields)
    return container.wait_exit(), container.logs()


def facts_of(pid):
    """Of /proc/PID/status, as the host sees it."""
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def test_who_it_is(pod):
    container = run(pod, TOOL, "wait", "600")
    facts = facts_of(container.pid())
    assert facts["Uid"].split() == [str(UID)] * 4 and facts["Gid"].split() == [str(GID)] * 4
    assert int(facts["CapBnd"], 16) == int(facts["CapEff"], 16) == 0
    side = pod.run("sleep", "600")
    assert ns_of(container.pid(), "user") == ns_of(side.pid(), "user") == f"user:[{kuasar.of_space(STATE / f'sandboxes/{pod.id}/ns/user').stat().st_ino}]"
    container.stop(grace=30)
    assert container.status()["exitCode"] == 128 + 15


def test_a_user_that_is_not_root(pod):
    container = run(pod, TOOL, "wait", "600", linux={"security_context": {
        "run_as_user": {"value": 1000}, "run_as_group": {"value": 1001}, "supplemental_groups": [4242]}})
    facts = facts_of(container.pid())
    assert facts["Uid"].split() == [str(UID + 1000)] * 4 and facts["Gid"].split() == [str(GID + 1001)] * 4
    assert str(GID + 4242) in facts["Groups"].split()


def test_a_group_that_the_pod_has_not(pod):
    """containerd itself looks at the user alone."""
    with pytest.raises(Failed, match=r"process: user: additionalGids: 70000 is none of the pod's: its user namespace has 65536 ids from 0 on"):
        run(pod, TOOL, "wait", "600", linux={"security_context": {"supplemental_groups": [70000]}})


def test_its_files(pod):
    assert outcome(pod, TOOL, "read", "/data/file") == (0, "from the image\n")
    assert outcome(pod, TOOL, "read", "/etc/hostname")[1].strip()
    assert "127.0.0.1" in outcome(pod, TOOL, "read", "/etc/hosts")[1]
    container = run(pod, TOOL, "wait", "600")
    assert container.exec(TOOL, "write", "/data/new", "x").returncode == 0
    made = os.stat(f"/proc/{container.pid()}/root/data/new")
    assert (made.st_uid, made.st_gid) == (UID, GID)
    # With a native container of the pod, and in its memory.
    assert container.exec(TOOL, "write", "/dev/shm/file", "shared").returncode == 0
    side = pod.run("sleep", "600")
    assert side.exec("cat", "/dev/shm/file").stdout == "shared"
    assert side.exec("stat", "-c", "%u:%g", "/dev/shm/file").stdout == "0:0\n"


def test_nothing_of_the_kernels_is_seen(pod):
    """On the host's network containerd, or we, bind the host's /sys for native programs."""
    container = run(pod, TOOL, "wait", "600", mounts=[BUSYBOX])
    for path in ("/sys/kernel", "/proc/self", "/dev/null"):
        assert container.exec("/busybox", "test", "-e", path, check=False).returncode != 0, path


def test_volumes(node, pod):
    volume = node.dir / f"volume-{uuid.uuid4().hex[:8]}"
    volume.mkdir()
    (volume / "roots").write_text("secret")
    (volume / "roots").chmod(0o600)
    mount = {"host_path": str(volume), "container_path": "/volume"}
    mapped = mount | {"uidMappings": [mapping(UID)], "gidMappings": [mapping(GID)]}
    assert outcome(pod, TOOL, "read", "/volume/roots", mounts=[mapped]) == (0, "secret")
    assert outcome(pod, TOOL, "write", "/volume/new", "x", mounts=[mapped])[0] == 0
    assert (volume / "new").stat().st_uid == 0
    assert outcome(pod, TOOL, "write", "/volume/newer", "x", mounts=[mapped | {"readonly": True}])[0] == 1
    # Nobody's without.
    assert outcome(pod, TOOL, "read", "/volume/roots", mounts=[mount])[0] == 1
    assert outcome(pod, TOOL, "write", "/volume/newer", "x", mounts=[mount])[0] == 1
    with pytest.raises(Failed, match="mounts.*a WebAssembly container can only have those of its user namespace"):
        run(pod, TOOL, "wait", "600", mounts=[mount | {"uidMappings": [mapping(UID + 1)], "gidMappings": [mapping(GID + 1)]}])
    shutil.rmtree(volume)


def test_execs(pod):
    container = run(pod, TOOL, "wait", "600", mounts=[BUSYBOX])
    assert container.exec(TOOL, "read", "/data/file").stdout == "from the image\n"
    assert exit_code(container.exec(TOOL, "exit", "9", check=False)) == 9
    assert container.exec("/busybox", "id", "-u").stdout == "0\n"
    with subprocess.Popen(["crictl", "exec", container.id, "/busybox", "sleep", "603"], stdout=subprocess.DEVNULL) as client:
        pid = until(lambda: [p for p, line in kuasar.processes().items() if line == "/busybox sleep 603"], "it runs")[0]
        assert ns_of(pid, "user") == ns_of(container.pid(), "user")
        assert facts_of(pid)["Uid"].split()[0] == str(UID) and int(facts_of(pid)["CapBnd"], 16) == 0
        container.stop(grace=0)
        client.wait(timeout=30)


def test_compiled_as_the_pods_user(pod):
    for entry in CACHE.glob("*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert outcome(pod, TOOL, "exit", "3")[0] == 3
    until(lambda: list(CACHE.glob("*/code")), "it is kept")
    assert outcome(pod, TOOL, "exit", "4")[0] == 4


def test_a_shared_pid_namespace(node, handler):
    pod = Users(node, NETWORK | {"pid": 0}, handler)
    container = run(pod, TOOL, "wait", "600")
    side = pod.run("sleep", "600")
    assert ns_of(container.pid(), "pid") == ns_of(side.pid(), "pid")
    container.stop(grace=0)
    assert side.exec("echo", "alive").stdout == "alive\n"


def test_nothing_is_left(node, handler):
    node.remove_pods()
    before = kuasar.census()
    pod = Users(node, {"userns_options": users()}, handler)
    run(pod, TOOL, "wait", "600")
    with pytest.raises(Failed):
        run(pod, "/truncated.wasm")
    node.remove_pods()
    kuasar.nothing_left(before)
