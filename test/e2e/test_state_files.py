"""State on disk that cannot be read: the daemons leave it as it is, put it aside, say so, and serve everybody else."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import time

import pytest

import node as kuasar
import programs
import wire
from node import STATE, crictl, run, until
from programs import WAIT, answers, leave

SANDBOXES, QUARANTINE, TASKS = STATE / "sandboxes", STATE / "quarantine", STATE / "tasks/k8s.io"
LOG = kuasar.LOGS / f"{kuasar.SANDBOXER}.log"


class Log:
    """What the daemons say from now on."""

    def __init__(self):
        self.start = LOG.stat().st_size

    def lines(self, *texts):
        with LOG.open("rb") as f:
            f.seek(self.start)
            return [line for line in f.read().decode(errors="replace").splitlines() if all(t in line for t in texts)]


def contents(path):
    """Every file below (what is mounted there aside): relative name -> bytes, or its kind."""
    found = {}
    for root, dirs, files in os.walk(path):
        dirs[:] = [d for d in dirs if not os.path.ismount(os.path.join(root, d))]
        for name in files:
            file = pathlib.Path(root, name)
            if not os.path.ismount(file):
                found[str(file.relative_to(path))] = file.read_bytes() if file.is_file() and not file.is_symlink() else "special"
    return found


def edited(**changes):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return change


def replaced(data):
    return lambda path: path.write_bytes(data)


def truncated(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def directory(path):
    path.rename(path.with_name(path.name + ".was"))
    path.mkdir()


def fifo(path):
    path.rename(path.with_name(path.name + ".was"))
    os.mkfifo(path)


def symlink(path):
    path.rename(path.with_name(path.name + ".was"))
    path.symlink_to(path.name + ".was")


def removed(path):
    path.rename(path.with_name(path.name + ".was"))


# What happens to the file, and what the log must say of it.
SANDBOX_CASES = {
    "truncated": ("sandbox.json", truncated, "sandbox.json"),
    "garbage": ("sandbox.json", replaced(os.urandom(4096)), "sandbox.json"),
    "empty": ("sandbox.json", replaced(b""), "sandbox.json"),
    "huge": ("sandbox.json", replaced(b" " * (2 << 20)), "sandbox.json"),
    "future": ("sandbox.json", edited(version=99), "version 99"),
    "other-id": ("sandbox.json", edited(id="another"), "another sandbox"),
    "state": ("sandbox.json", edited(state="happy"), "happy"),
    "undo-of-the-root": ("sandbox.json", edited(undo=[{"kind": "unmount", "path": "/"}]), "undo"),
    "undo-of-another": ("sandbox.json", edited(undo=[{"kind": "unmount", "path": str(SANDBOXES)}]), "undo"),
    "undo-unknown": ("sandbox.json", edited(undo=[{"kind": "format", "path": "/dev/sda"}]), "undo"),
    "directory": ("sandbox.json", directory, "sandbox.json"),
    "fifo": ("sandbox.json", fifo, "sandbox.json"),
    "symlink": ("sandbox.json", symlink, "sandbox.json"),
    "gone": ("sandbox.json", removed, "sandbox.json"),
    "pod-truncated": ("pod.json", truncated, "pod.json"),
    "pod-garbage": ("pod.json", replaced(os.urandom(1024)), "pod.json"),
    "pod-future": ("pod.json", edited(version=99), "version 99"),
    "pod-other-id": ("pod.json", edited(id="another"), "another sandbox"),
    "pod-directory": ("pod.json", directory, "pod.json"),
    "pod-gone": ("pod.json", removed, "pod.json"),
}


def purge(path):
    """What an operator does with what is in quarantine: a machine's processes, mounts, then files."""
    end_machines()
    for mounted in sorted((m for m in kuasar.mounts() if m.startswith(str(path) + "/")), reverse=True):
        kuasar.in_space("umount", mounted)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


MACHINES = ("kernel-uml", "qemu-system-x86_64", "virtiofsd", "vhost-device-vsock")


def end_machines():
    """Those of quarantined pods; there are no others when this is called."""
    for name in MACHINES:
        for pid in kuasar.pids_of(name):
            with contextlib.suppress(ProcessLookupError):  # the others of its machine have ended
                os.kill(pid, signal.SIGKILL)
    until(lambda: not any(kuasar.pids_of(name) for name in MACHINES), "no process of a machine is left")


def purge_rest(cgroups):
    """The init processes of quarantined pods, and cgroups that were not there before."""
    for pid, line in kuasar.processes().items():
        if line.startswith("kuasar-pod-init"):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(c.startswith("kuasar-pod-init") for c in kuasar.processes().values()), "they are gone")
    for path in sorted(kuasar.cgroups() - set(cgroups), reverse=True):
        os.rmdir(path)


def quarantined(name):
    return list(QUARANTINE.glob(name + ".*"))


@pytest.fixture
def clean(node):
    """The node is as before when the test has put away what it broke."""
    node.remove_pods()
    until(lambda: crictl("pods", "-q").stdout == "", "no pods")
    before = kuasar.census()
    yield
    node.remove_pods()
    for path in list(QUARANTINE.iterdir()):
        purge(path)
    purge_rest(before["cgroups"])
    end = time.monotonic() + 10
    while (now := kuasar.census()) != before and time.monotonic() < end:
        time.sleep(0.1)
    assert now == before, "nothing is left of the quarantined"


def restart_with(node, change):
    """Stops the sandboxer, changes its files, starts it again."""
    node.kill_sandboxer()
    log = Log()
    change()
    node.start_sandboxer(*node.daemon_args)
    return log


def test_sandbox_records(node, clean):
    """Twenty pods with twenty kinds of damage, one without any, in one restart."""
    healthy = node.pod()
    healthy_container = programs.run(healthy, *WAIT)
    pods = {case: node.pod(linux={"security_context": {"namespace_options": {"pid": 0 if case in ("truncated", "pod-gone") else 1}}})
            for case in SANDBOX_CASES}
    containers = {case: programs.run(pods[case], *WAIT) for case in ("truncated", "garbage", "future", "gone", "pod-garbage", "pod-gone")}
    pids = {case: c.pid() for case, c in containers.items()}
    for case in ("truncated", "pod-gone"):
        pids[case + " (init)"] = json.loads((SANDBOXES / pods[case].id / "sandbox.json").read_text())["init_pid"]
    mounts = kuasar.mounts()
    kept = {}

    def damage():
        for case, (name, change, _) in SANDBOX_CASES.items():
            path = SANDBOXES / pods[case].id
            change(path / name)
            kept[case] = contents(path)
    log = restart_with(node, damage)

    for case, (_, _, text) in SANDBOX_CASES.items():
        pod_id = pods[case].id
        found = quarantined(pod_id)
        assert len(found) == 1, f"{case}: {found}"
        assert contents(found[0]) == kept[case], f"{case}: its files were changed"
        assert not (SANDBOXES / pod_id).exists()
        said = log.lines(pod_id, "quarantine")
        assert len(said) == 1 and text in said[0] and " error " in said[0], f"{case}: {said}"
    for case, pid in pids.items():
        assert os.path.exists(f"/proc/{pid}"), f"{case}: its process was ended"
    for case, container in containers.items():
        assert answers(container), case
    assert len(kuasar.mounts()) == len(mounts), "nothing was unmounted"
    # containerd is told the truth, everybody else is served.
    until(lambda: all(p.state() == "SANDBOX_NOTREADY" for p in pods.values()), "the pods are not ready", 30)
    assert healthy.state() == "SANDBOX_READY"
    assert answers(healthy_container)
    assert programs.run(healthy, *leave(0)).wait_exit() == 0
    assert programs.run(node.pod(), *leave(0)).wait_exit() == 0
    # Once more: nothing new, nothing lost.
    log = restart_with(node, lambda: None)
    assert not log.lines("quarantine")
    assert all(len(quarantined(p.id)) == 1 for p in pods.values())


def test_stray_files_among_the_sandboxes(node, clean):
    pod = node.pod()
    container = programs.run(pod, *WAIT)
    stray = {"file": b"a file", ".sandbox.json.tmp": b"half", "not..valid": b"x", "with space": b"y", "n" * 200: b"z", "line\nbreak": b"w"}
    kept = SANDBOXES / "kept-dir"

    def litter():
        for name, data in stray.items():
            (SANDBOXES / name).write_bytes(data)
        kept.mkdir()
        (kept / "notes").write_text("of an operator")
        (SANDBOXES / "empty-dir").mkdir()
        (SANDBOXES / "link").symlink_to("/etc")
        os.mkfifo(SANDBOXES / "fifo")
        (SANDBOXES / "nobody..").mkdir(0)
    log = restart_with(node, litter)
    assert os.listdir(SANDBOXES) == [pod.id]
    for name, data in stray.items():
        found = [p for p in QUARANTINE.iterdir() if p.name.startswith(name[:100] + ".")]
        assert [p.read_bytes() for p in found] == [data], name
        assert len(log.lines(f"sandbox {name}:".replace("\n", "\\n"), "quarantine")) == 1, name
    assert [(p / "notes").read_text() for p in quarantined("kept-dir")] == ["of an operator"]
    assert [os.readlink(p) for p in quarantined("link")] == ["/etc"]
    assert len(quarantined("fifo")) == 1
    assert pathlib.Path("/etc/hostname").exists()
    assert answers(container)
    assert programs.run(node.pod(), *leave(0)).wait_exit() == 0


def test_a_quarantine_that_is_in_the_way(node, clean):
    """What cannot be put aside stays where it is, is reported, and hinders nobody."""
    pod, healthy = node.pod(), node.pod()
    path = SANDBOXES / pod.id
    before = contents(path)
    aside = QUARANTINE.with_name("quarantine-aside")

    def damage():
        removed(path / "sandbox.json")
        QUARANTINE.rename(aside)
        QUARANTINE.write_text("not a directory")
    # The task server lives on and does not look at it.
    log = restart_with(node, damage)
    try:
        assert len(log.lines(pod.id, "could not be moved")) == 1
        assert contents(path) == {**{k: v for k, v in before.items() if k != "sandbox.json"}, "sandbox.json.was": before["sandbox.json"]}
        assert programs.run(healthy, *leave(0)).wait_exit() == 0
    finally:
        QUARANTINE.unlink()
        aside.rename(QUARANTINE)
    log = restart_with(node, lambda: (path / "sandbox.json.was").rename(path / "sandbox.json"))
    assert not log.lines("quarantine")
    status = wire.parse(wire.controller("Status", wire.message((1, pod.id))))
    assert status[3] == [b"SANDBOX_READY"], "repaired by hand, it is there again"


# ---- the task server's records ------------------------------------------------------------------

TASK_CASES = {
    "truncated": (truncated, "record"),
    "garbage": (replaced(os.urandom(4096)), "record"),
    "empty": (replaced(b""), "record"),
    "huge": (replaced(b" " * (8 << 20)), "read"),
    "future": (edited(version=99), "99"),
    "kind": (edited(kind="another"), "another"),
    "other-id": (edited(id="another"), "another"),
    "other-namespace": (edited(namespace="another"), "another"),
    "init-of-the-node": (edited(init={"pid": 1, "start_time": 0}), "init"),
    "group": (edited(init={"pid": -1, "start_time": 0}), "init"),
    "root-cgroup": (edited(cgroup="/"), "cgroup"),
    "cgroup-up": (edited(cgroup="/../.."), "cgroup"),
    "bundle": (edited(bundle="../../etc"), "bundle"),
    "directory": (directory, "read"),
    "fifo": (fifo, "read"),
    "symlink": (symlink, "read"),
}


def end_by_hand(container_id, pid):
    """What the log tells an operator to do."""
    if os.path.exists(f"/proc/{pid}"):
        os.kill(pid, signal.SIGKILL)
    for state in STATE.glob(f"runtime/*/{container_id}"):  # a module has none
        run("runc", "--root", state.parent, "delete", "--force", container_id, check=False)
    rootfs = STATE / "rootfs/k8s.io" / container_id
    kuasar.in_space("umount", rootfs, check=False)
    rootfs.rmdir()


@kuasar.not_in_machines("its containers are not processes of the host")
def test_task_records(node, clean):
    healthy = node.pod()
    ended = programs.run(healthy, *WAIT)
    pods = {case: node.pod() for case in TASK_CASES}
    containers = {case: programs.run(pods[case], *WAIT) for case in TASK_CASES}
    pids = {case: c.pid() for case, c in containers.items()}
    ended_pid, old = ended.pid(), node.task_pid()
    kept = {}
    node.kill_sandboxer()
    os.kill(old, signal.SIGKILL)
    until(lambda: not kuasar.pids_of(kuasar.TASK), "the task server is gone")
    for case, (change, _) in TASK_CASES.items():
        path = TASKS / f"{containers[case].id}.json"
        change(path)
        kept[case] = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    (TASKS / "notes.txt").write_text("of an operator")
    (TASKS.parent / "not..valid").mkdir()
    log = Log()
    node.start_sandboxer(*node.daemon_args)
    try:
        for case, (_, text) in TASK_CASES.items():
            container_id = containers[case].id
            found = list(QUARANTINE.glob(f"task-k8s.io-{container_id}.json.*"))
            assert len(found) == 1, f"{case}: {found}"
            assert kept[case] is None or found[0].read_bytes() == kept[case], f"{case}: it was changed"
            said = log.lines(container_id, "quarantine")
            assert len(said) == 1 and text in said[0] and " error " in said[0], f"{case}: {said}"
            assert os.path.exists(f"/proc/{pids[case]}"), f"{case}: its process was ended"
        assert (TASKS / "notes.txt").read_text() == "of an operator"
        # The one that could be read was ended, as always after a death of the task server.
        assert not os.path.exists(f"/proc/{ended_pid}")
        until(lambda: ended.state() == "CONTAINER_EXITED", "it is reported as ended")
        assert os.path.exists("/proc/1")
        assert healthy.state() == "SANDBOX_READY"
        assert programs.run(healthy, *leave(4)).wait_exit() == 4
        assert all(p.state() == "SANDBOX_READY" for p in pods.values())
        assert programs.run(pods["garbage"], *leave(0)).wait_exit() == 0, "its pod is whole"
    finally:
        (TASKS / "notes.txt").unlink()
        (TASKS.parent / "not..valid").rmdir()
        for case, container in containers.items():
            end_by_hand(container.id, pids[case])
        for path in TASKS.glob("*.was"):
            path.unlink()
