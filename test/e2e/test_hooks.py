"""Hooks of a container, as programs for GPUs and the like bring them: each runs when it does with containerd's own shim, is told the same and finds the same."""

import json
import os
import pathlib
import signal

import pytest

import node as kuasar
from node import Failed, run, until

HOOK = """#!/usr/bin/python3 -I
import json, os, subprocess, sys

stage, out = sys.argv[1:]
state = json.load(sys.stdin)
bundle = state["bundle"]
with open(f"{bundle}/config.json") as f:
    root = os.path.join(bundle, json.load(f)["root"]["path"])
with open(f"{out}/{state['id']}", "a") as f:
    f.write(json.dumps({
        "stage": stage, "status": state["status"], "pid": state.get("pid", 0) > 0, "variable": os.environ.get("STAGE"),
        "annotation": state.get("annotations", {}).get("io.kubernetes.cri.container-type"),
        "bundle": os.path.basename(bundle) == state["id"], "root": os.path.exists(f"{root}/bin/busybox"),
    }) + "\\n")
if stage == "createRuntime":
    if os.path.exists(f"{out}/fail"):
        sys.exit("no such device")
    subprocess.run(["nsenter", f"--mount=/proc/{state['pid']}/ns/mnt", "mount", "--bind", f"{out}/device", f"{root}/mnt"], check=True)
"""
STAGES = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
LOOP = ["sh", "-c", "while :; do sleep 1; done"]
IN_CONTAINER = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/told"]}


@pytest.fixture(scope="module")
def out(the_node):
    """Handlers hooks-ours, hooks-runc and hooks-crun, whose containers have hooks; where these write, a file for each container."""
    out = the_node.dir / "hooks"
    (out / "device").mkdir(parents=True)
    (out / "device/file").write_text("a device\n")
    hook = out / "hook"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    spec = json.loads(run("ctr", "oci", "spec").stdout)
    spec["hooks"] = {stage: [{"path": str(hook), "args": ["hook", stage, str(out)], "env": [f"STAGE={stage}", "PATH=/usr/sbin:/usr/bin"]}]
                     for stage in STAGES if stage != "startContainer"} | {"startContainer": [IN_CONTAINER]}
    base = f"  base_runtime_spec = \"{the_node.write('hooks.json', spec)}\"\n"
    text = f"{kuasar.table('hooks-ours')}]\n{kuasar.OURS}{base}"
    for runtime in ("/usr/sbin/runc", "/usr/bin/crun"):
        name = f"hooks-{pathlib.Path(runtime).name}"
        text += f"{kuasar.table(name)}]\n  runtime_type = \"io.containerd.runc.v2\"\n{base}{kuasar.table(name)}.options]\n  BinaryName = \"{runtime}\"\n"
    with the_node.drop_in("hooks", text):
        yield out


@pytest.fixture(params=["runc", "crun"])
def runtime(node, out, request):
    """Which one runs ours."""
    if request.param == "runc":
        yield "runc"
        return
    node.restart_daemons("--config", node.write("hooks.toml", f'runtime = "{request.param}"\n'))
    yield request.param
    node.restart_daemons()


def said_of(out, container):
    return [json.loads(line) for line in (out / container.id).read_text().splitlines()]


def lived(node, out, handler):
    """What the hooks of a container said that has lived and died, and what the one inside was told."""
    container = node.pod(handler=handler).run("sh", "-c", "cat /mnt/file /told")
    assert container.wait_exit() == 0, container.logs()
    device, told = container.logs().split("\n", 1)
    assert device == "a device", "what a hook has mounted is there"
    container.remove()
    said = said_of(out, container)
    told = json.loads(told)
    assert told["id"] == container.id
    return said, told["status"], told["pid"] > 0


def test_as_with_containerds_own_shim(node, out, runtime):
    said, status, pid = lived(node, out, "hooks-ours")
    assert sorted(s["stage"] for s in said) == sorted(set(STAGES) - {"startContainer"})
    assert all(s["variable"] == s["stage"] and s["root"] and s["bundle"] for s in said), said
    assert (said, status, pid) == lived(node, out, f"hooks-{runtime}")


def test_the_last_finds_the_root_when_the_pod_ends(node, out, runtime):
    container = node.pod(handler="hooks-ours").run(*LOOP)
    container.pod.stop()
    assert [s["root"] for s in said_of(out, container) if s["stage"] == "poststop"] == [True]


def test_the_last_finds_the_root_when_the_task_server_is_killed(node, out, runtime):
    """(And the bundle, which containerd would have removed by then.)"""
    container = node.pod(handler="hooks-ours").run(*LOOP)
    node.stop_containerd()
    os.kill(node.task_pid(), signal.SIGKILL)
    until(lambda: said_of(out, container)[-1]["stage"] == "poststop", "its successor ends the container")
    node.start_containerd()
    assert [s["root"] for s in said_of(out, container) if s["stage"] == "poststop"] == [True]


def test_what_is_gone_hinders_no_end(node, out, runtime):
    node.remove_pods()
    before = kuasar.census()
    container = node.pod(handler="hooks-ours").run(*LOOP)
    root = kuasar.STATE / f"rootfs/k8s.io/{container.id}"
    kuasar.in_space("umount", "-l", root)
    root.rmdir()
    container.stop(grace=0)
    container.remove()
    assert [s["root"] for s in said_of(out, container) if s["stage"] == "poststop"] == [False]
    node.remove_pods()
    kuasar.nothing_left(before)


def test_one_that_fails(node, out, runtime):
    node.remove_pods()
    before = kuasar.census()
    (out / "fail").touch()
    try:
        container = node.pod(handler="hooks-ours").create("true")
        with pytest.raises(Failed, match="hook"):
            container.start()
        assert not [m for m in kuasar.mounts() if container.id in m]
    finally:
        (out / "fail").unlink()
    node.remove_pods()
    kuasar.nothing_left(before)
