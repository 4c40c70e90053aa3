"""kuasar-ctl against living pods, dead daemons, broken configurations and hostile arguments."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import threading

import pytest

import node as kuasar
import wasm
import wire
from node import CONTAINERD, HANDLER, KIND, STATE, V2, crictl, run, until

CONF = pathlib.Path("/etc/containerd/conf.d")
MAIN = pathlib.Path("/etc/containerd/config.toml")
OURS = MAIN if KIND == "runc" else CONF / f"{HANDLER}.toml"  # the file with the kind's handler
SECRET = "tell-nobody-4711"
on_the_host = kuasar.not_in_machines("its containers are in the machine, and the other kinds' tests do this")


def ctl(*argv, code=0, **more):
    result = run("kuasar-ctl", *argv, check=False, **more)
    assert result.returncode == code, f"{argv}: exit {result.returncode}\n{result.stdout}{result.stderr}"
    return result


def ctl_json(*argv, code=0):
    return json.loads(ctl(*argv, "--json", code=code).stdout)


def entries(code=0):
    return {e["id"]: e for e in ctl_json("list", code=code)["entries"]}


def test_list_and_show(node):
    pod = node.pod()
    other = node.pod()
    container = pod.run("sleep", "1000", name="web")
    found = entries()
    assert set(found) == {pod.id, other.id, container.id}
    assert found[pod.id]["state"] == "ready" and found[pod.id]["type"] == "sandbox"
    name = pod.config["metadata"]
    assert found[pod.id]["name"] == f"{name['namespace']}/{name['name']}"
    c = found[container.id]
    assert c["name"] == "web"
    assert (c["state"], c["pid"], c["sandbox_id"], c["namespace"], c["from"]) == ("running", container.pid(), pod.id, "k8s.io", "daemon")
    lines = ctl("ls").stdout.splitlines()
    assert lines[0].split() == ["TYPE", "ID", "STATE", "PID", "AGE", "KIND", "SANDBOX", "NAME"]
    at = next(i for i, line in enumerate(lines) if pod.id[:13] in line)
    assert container.id[:13] in lines[at + 1], "a container stands behind its sandbox"
    assert lines[at + 1].endswith("  web")
    assert container.id in ctl("list", "--long").stdout

    shown = ctl_json("show", container.id[:20])
    assert shown["id"] == container.id
    if KIND == "vmm":  # of which no runtime of the host knows, and no cgroup
        assert shown["now"]["cgroup_pids"] == []
    else:
        assert shown["facts"]["engine.binary"] == "runc"
        assert shown["now"]["cgroup_pids"] == [container.pid()]
    assert shown["now"]["namespaces"]["net"] == os.readlink(f"/proc/{container.pid()}/ns/net")
    create = next(o for o in shown["operations"] if o["operation"] == "container_create")
    assert create["nanoseconds"]["runtime"] > 0 and create["total_nanoseconds"] >= create["nanoseconds"]["runtime"]
    shown = ctl_json("show", pod.id)
    assert str(pod.netns()).endswith(shown["facts"]["ns.net"]) and any(k.startswith("undo.") for k in shown["facts"])
    text = ctl("show", container.id[:20]).stdout
    assert "container_create" in text and "net:[" in text and container.id in text
    assert "\n  name                   web\n" in text


def kernels(cgroup):
    """What `show` should say of a cgroup, from its files; a limit that is not set is left out."""
    values = {"cgroup_version": 2 if V2 else 1, "memory_limit_bytes": cgroup.memory_limit(), "pids_limit": cgroup.pids_limit(),
              "pids": cgroup.pids_current(), "oom_kills": cgroup.oom_kills(),
              "memory_failures": cgroup.keyed("memory", "memory.events")["max"] if V2 else int(cgroup.read("memory", "memory.failcnt")),
              "cpu_throttled_periods": cgroup.keyed("cpu", "cpu.stat")["nr_throttled"]}
    return {name: value for name, value in values.items() if value is not None}


@on_the_host
def test_show_says_what_the_cgroups_files_say(node):
    memory = lambda limit: {"resources": {"memory_limit_in_bytes": limit << 20}}
    pod = node.pod(linux=memory(96))
    container = pod.run("sleep", "1000", linux=memory(64))
    bare = pod.run("sleep", "1000")
    for who in (pod, container, bare):
        check_cgroup(who)
    assert shown_values(container)["memory_limit_bytes"] == 64 << 20 and shown_values(pod)["memory_limit_bytes"] == 96 << 20
    assert not {"memory_limit_bytes", "pids_limit"} & set(shown_values(bare))

    crictl("update", "--memory", 32 << 20, "--cpu-quota", 2000, "--cpu-period", 100000, container.id)
    container.cgroup().file("pids", "pids.max").write_text("7")
    check_cgroup(container)
    before = shown_values(container)
    assert (before["memory_limit_bytes"], before["pids_limit"], before["pids"]) == (32 << 20, 7, 1)
    text = ctl("show", container.id).stdout
    assert f"\n  cgroup                 {container.cgroup().path}\n" in text
    assert re.search(rf"^  memory_limit_bytes +{32 << 20}$", text, re.MULTILINE) and re.search(r"^  pids_limit +7$", text, re.MULTILINE)

    container.exec("tail", "/dev/zero", check=False, timeout=120)  # takes memory until it is killed
    check_cgroup(container)
    after = shown_values(container)
    assert before["oom_kills"] == 0 < after["oom_kills"] != after["memory_failures"]
    assert before["cpu_throttled_periods"] < after["cpu_throttled_periods"] and before["memory_max_bytes"] < after["memory_max_bytes"]


def shown_values(who):
    return ctl_json("show", who.id)["now"]["cgroup_values"]


def check_cgroup(who):
    cgroup = who.cgroup()
    shown = ctl_json("show", who.id)
    assert shown["cgroup"] == cgroup.path
    values = dict(shown["now"]["cgroup_values"])
    cpu, used, peak = (values.pop(name) for name in ("cpu_nanoseconds", "memory_bytes", "memory_max_bytes"))
    assert values == kernels(cgroup)
    assert 0 < cpu <= cgroup.cpu_ns()
    assert 0 < used <= peak <= cgroup.memory_peak()
    kuasar.agree(lambda: shown_values(who)["memory_bytes"], cgroup.memory_usage)
    inside = " ".join(file.read_text() for file in cgroup.file("memory", ".").rglob("cgroup.procs"))
    assert sorted(shown["now"]["cgroup_pids"]) == sorted(int(pid) for pid in inside.split())


@contextlib.contextmanager
def followed(node, daemons=2):
    """What `kuasar-ctl events` prints meanwhile: a function that returns it so far, and the process."""
    log = node.dir / "events"
    with open(log, "wb") as out:
        follower = subprocess.Popen(["kuasar-ctl", "events", "--json"], stdout=out)
    try:
        # The daemons hold its connections, beside its outputs and event loop.
        until(lambda: len(os.listdir(f"/proc/{follower.pid}/fd")) >= 4 + daemons, "the follower is connected")
        yield lambda: [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    finally:
        follower.send_signal(signal.SIGINT)
    assert follower.wait(timeout=20) == 0


def test_events(node):
    with followed(node) as seen:
        pod = node.pod()
        container = pod.run("sh", "-c", "exit 3")
        container.wait_exit()
        pod.remove()
        until(lambda: any(e.get("topic") == "/sandboxes/removed" for e in seen()), "the removal is told")
        mine = [(e["topic"], e["id"]) for e in seen() if "topic" in e]
        for topic, who in [("/sandboxes/creating", pod), ("/sandboxes/ready", pod), ("/tasks/create", container), ("/tasks/start", container),
                           ("/tasks/exit", container), ("/sandboxes/stopped", pod), ("/sandboxes/removed", pod)]:
            assert (topic, who.id) in mine, f"{topic} of {who.id} is not in {mine}"
        exit_event = next(e for e in seen() if e.get("topic") == "/tasks/exit")
        assert exit_event["exit_status"] == 3 and exit_event["kind"] == KIND
        node.restart_sandboxer()
        until(lambda: any("another process" in e.get("answers", "") for e in seen()), "the restart is told")


@pytest.mark.any_containerd
@pytest.mark.many_forks
def test_a_slow_follower_is_told_what_it_missed(node):
    read, write = os.pipe()
    follower = subprocess.Popen(["kuasar-ctl", "events", "--json"], stdout=write)
    os.close(write)
    try:
        until(lambda: len(os.listdir(f"/proc/{follower.pid}/fd")) >= 6, "the follower is connected")
        container = node.pod().run("sleep", "1000")
        with open(read, closefd=True) as lines:
            while json.loads(lines.readline()).get("topic") != "/tasks/start":
                pass
            follower.send_signal(signal.SIGSTOP)
            for _ in range(260):  # more than the daemon remembers
                four_events(container)
            follower.send_signal(signal.SIGCONT)
            # The pipe's reader sees the end when the follower is ended, at the latest.
            end = threading.Timer(60, follower.kill)
            end.start()
            missed = next((json.loads(line)["missed"] for line in lines if "missed" in line), None)
            end.cancel()
            assert missed is not None, "a minute without a word of what was missed"
            assert int(missed) > 0
    finally:
        follower.kill()
        follower.wait()


def four_events(container):
    for verb in ("pause", "resume", "pause", "resume"):
        run("ctr", "-n", "k8s.io", "tasks", verb, container.id)


def test_without_the_sandboxer(node):
    pod = node.pod()
    container = pod.run("sleep", "1000")
    node.kill_sandboxer()
    try:
        result = ctl("list", code=1)
        assert "from the journal" in result.stderr and "remedy: " in result.stderr
        found = entries(code=1)
        assert found[pod.id]["from"] == "journal" and found[pod.id]["state"] == "ready"
        assert found[container.id]["from"] == "daemon" and found[container.id]["state"] == "running"
        assert str(pod.netns()).endswith(ctl_json("show", pod.id, code=1)["facts"]["ns.net"])
        assert f"sandboxer of kind {KIND} does not answer" in ctl("doctor", code=2).stdout
    finally:
        node.start_sandboxer(*node.daemon_args)
    assert ctl_json("show", pod.id)["from"] == "daemon"


def test_without_the_task_server(node):
    """The sandboxer, which would start another, is stopped meanwhile: that is a daemon that hangs."""
    pod = node.pod()
    container = pod.run("sleep", "1000", name="web")
    task = node.task_pid()
    node.daemon.send_signal(signal.SIGSTOP)
    try:
        os.kill(task, signal.SIGKILL)
        until(lambda: not kuasar.pids_of(kuasar.TASK), "it is gone")
        result = ctl("list", "-t", "0.5", code=1)
        assert "no answer from" in result.stderr and "nobody listens" in result.stderr
        found = {e["id"]: e for e in ctl_json("list", "-t", "0.5", code=1)["entries"]}
        assert found[container.id]["from"] == "journal" and found[container.id]["state"] == "alive"
        assert found[container.id]["name"] == "web"
        assert found[pod.id]["from"] == "journal"
        assert ctl_json("show", container.id, "-t", "0.5", code=1)["facts"]["bundle"]
    finally:
        node.daemon.send_signal(signal.SIGCONT)
    until(lambda: len(kuasar.pids_of(kuasar.TASK)) == 1 and run("kuasar-ctl", "list", check=False).returncode == 0, "both answer again")


def unpack(path):
    with tarfile.open(path) as tar:
        return {m.name.removeprefix("kuasar-dump/"): tar.extractfile(m).read().decode(errors="replace") for m in tar.getmembers()}


SECRETS = f"""version = 3
[plugins."io.containerd.cri.v1.images".registry.configs."r.example".auth] # was {SECRET}
  password = "{SECRET}"
[stream_processors.mine]
  path = "/usr/bin/mine"
  args = ["--key",
    "{SECRET}"]
  env = ["TOKEN={SECRET}"]
[proxy_plugins.mine]
  type = "snapshot"
  address = "/run/mine.sock"
  exports = {{ from = "https://me:{SECRET}@r.example/x", passphrase = "{SECRET}" }}
"""


def test_dump_has_everything_and_no_secret(node):
    (CONF / "secret.toml").write_text(SECRETS)
    try:
        pod = node.pod(annotations={"io.kuasar.note": SECRET}, labels={"mine": SECRET})
        container = pod.run("sh", "-c", "sleep 1000", "sh", SECRET, envs=[{"key": "TOKEN", "value": SECRET}], annotations={"x": SECRET})
        path = node.dir / "dump.tar"
        assert str(path) in ctl("dump", "-o", path).stdout
        assert path.stat().st_mode & 0o777 == 0o600
        files = unpack(path)
        for name, text in files.items():
            if not name.startswith("logs/"):
                assert SECRET not in text, f"{name} has the secret"
        assert "<redacted>" in files[f"records/{KIND}/sandboxes/{pod.id}/sandbox.json"]
        for name in ("README", "list.json", "doctor.txt", "errors", "system/versions.json", "system/mounts", f"events/{KIND}-task.json",
                     "config/containerd-dump.json", "config/etc/containerd/config.toml.json", "config/etc/containerd/conf.d/secret.toml.json", f"show/{KIND}/{pod.id}.json",
                     f"show/{KIND}/k8s.io-{container.id}.json", f"records/{KIND}/tasks/k8s.io/{container.id}.json", f"logs/{kuasar.SANDBOXER}.log"):
            assert name in files, f"{name} is not among {sorted(files)}"
        assert HANDLER in json.loads(files["config/containerd-dump.json"])["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]
        for name in ("config/containerd-dump.json", "config/etc/containerd/conf.d/secret.toml.json"):
            mine = json.loads(files[name])
            assert mine["stream_processors"]["mine"]["env"] == ["TOKEN=<redacted>"]
            assert mine["proxy_plugins"]["mine"]["exports"]["from"] == "https://<redacted>@r.example/x"
        assert pod.id in files[f"system/mounts-{KIND}"] and "cgroup" in files["system/mounts"]
        assert "taken out" in files["README"].lower()
        assert not any(name.startswith("logs/") for name in unpack_stdout("dump", "-o", "-", "--no-logs"))
        assert "is there; give another name" in ctl("dump", "-o", path, code=2).stderr
        node.kill_sandboxer()
        try:
            ctl("dump", "-o", node.dir / "dead.tar", code=1)
            assert pod.id in unpack(node.dir / "dead.tar")["list.json"]
        finally:
            node.start_sandboxer(*node.daemon_args)
    finally:
        (CONF / "secret.toml").unlink()


def test_dump_leaves_out_what_it_cannot_redact(node):
    broken = CONF / "broken.toml"
    broken.write_text(f"version = 3\npassword = {SECRET}\n")
    large = CONF / "large.toml"  # of which the end does not say what it belongs to
    large.write_text("version = 3\n[mine.auth]\n" + "#\n" * (1 << 20) + f'user = "{SECRET}"\n')
    try:
        ctl("dump", "-o", node.dir / "broken.tar")
        files = unpack(node.dir / "broken.tar")
        assert not any(name.startswith("config/") and "broken" in name for name in files)
        assert "config/etc/containerd/conf.d/broken.toml.json: it is no TOML in line 2" in files["errors"]
        assert "/etc/containerd/conf.d/large.toml: File too large" in files["errors"]
        assert all(SECRET not in text for name, text in files.items() if not name.startswith("logs/"))
    finally:
        broken.unlink()
        large.unlink()


@kuasar.not_in_machines("its names are in the machine")
def test_dump_shows_no_names_that_a_pod_makes(node):
    pod = node.pod()
    container = pod.run("sleep", "1000")
    container.exec("sh", "-c", 'touch "/dev/shm/$(printf "one-part\\n-rw------- root:root 1 other-part")"')
    ctl("dump", "-o", node.dir / "tree.tar")
    tree = unpack(node.dir / "tree.tar")[f"records/{KIND}/tree.txt"]
    assert f"/sandboxes/{pod.id}/sandbox.json" in tree and f"/sandboxes/{pod.id}/shm" in tree
    assert "one-part" not in tree and "other-part" not in tree


def unpack_stdout(*argv):
    data = ctl(*argv, text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [m.name.removeprefix("kuasar-dump/") for m in tar.getmembers()]


@contextlib.contextmanager
def changed(file, change):
    before = file.read_text()
    file.write_text(change(before))
    try:
        yield
    finally:
        file.write_text(before)


@pytest.fixture(scope="module", autouse=True)
def no_other_kind(the_node):
    """The node's handlers for the runc kind, the last tables of its file, have no daemons in a run for another."""
    with changed(MAIN, lambda t: t if KIND == "runc" else t[:t.index("\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kuasar-runc]")]):
        yield


def faults(code=2):
    return ctl_json("doctor", "--quiet", code=code)["findings"]


def expect_fault(says, does, code=2):
    found = faults(code)
    assert any(says in f["text"] and does in f["remedy"] for f in found), f"{says!r}, {does!r}: {found}"
    assert all(f["remedy"] for f in found), found


def lacks_cpuset():
    """As the second kernel does, of which doctor warns."""
    return V2 and "cpuset" not in (kuasar.CGROUP_ROOT / "cgroup.controllers").read_text()


def expect_order():
    """Nothing is found but what the second kernel lacks, the controller of CPU sets."""
    found = faults(1 if lacks_cpuset() else 0)
    assert [f["text"] for f in found if "cpuset" not in f["text"]] == []
    assert len(found) == (1 if lacks_cpuset() else 0)


def test_doctor_finds_nothing_on_a_node_in_order(node):
    expect_order()


# Without arguments it waits to be found; with some, as doctor would give them, it leaves a mark.
TRAP = """#include <fcntl.h>
#include <unistd.h>
int main(int argc, char **argv) { return argc == 1 ? pause() : creat("%s", 0600) < 0; }
"""


@contextlib.contextmanager
def traps(node):
    """Processes whose program is named containerd, and the mark of one that was run by somebody else."""
    mark = node.dir / "mark"
    root = pathlib.Path("/opt/e2e-trap")
    root.mkdir()
    open_to_all = pathlib.Path(node.dir) / "containerd"  # in /tmp
    program = root / "containerd"
    started = []
    try:
        run("cc", "-x", "c", "-", "-o", program, input=TRAP % mark)
        shutil.copy(program, open_to_all)
        started.append(subprocess.Popen([program], user=65534, group=65534))
        started.append(subprocess.Popen(["unshare", "--mount", program]))
        started.append(subprocess.Popen([open_to_all]))
        until(lambda: all(os.path.basename(os.readlink(f"/proc/{p.pid}/exe")) == "containerd" for p in started), "they run")
        yield [p.pid for p in started], mark
    finally:
        for p in started:
            p.kill()
            p.wait()
        shutil.rmtree(root)


def test_only_the_nodes_own_containerd_is_run(node):
    node.stop_containerd()
    try:
        with traps(node) as (pids, mark):
            found = [f["text"] for f in faults() if "is taken for" in f["text"]]
            assert len(found) == 1 and any(f"process {pid} " in found[0] for pid in pids), found
            node.start_containerd()
            expect_order()
            ctl("dump", "-o", node.dir / "traps.tar")
            assert not mark.exists()
    finally:
        node.revive()


BROKEN = {
    "syntax": (lambda t: t + "\nx = \n", "does not take its configuration", "config dump"),
    "sandboxer without plugin": (lambda t: t.replace(f"[proxy_plugins.{KIND}]", "[proxy_plugins.other]"), f"no [proxy_plugins.{KIND}]", "add the table"),
    "wrong plugin type": (lambda t: t.replace('type = "sandbox"', 'type = "snapshot"'), 'has type = "snapshot"', 'type = "sandbox"'),
    "wrong address": (lambda t: t.replace(kuasar.SOCKET, "/run/nobody.sock"), "/run/nobody.sock", "proxy_plugins"),
    "no handler": (lambda t: t.replace(f'sandboxer = "{KIND}"', ""), "no handler has a sandboxer", "restart containerd"),
    "no shim": (lambda t: t.replace(f"io.containerd.{HANDLER}.v", "io.containerd.kuasar-nix.v"), "containerd-shim-kuasar-nix-v", "runtime_path"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_doctor_names_each_fault_of_containerds_configuration(node, case):
    change, says, does = BROKEN[case]
    with changed(OURS, change):
        expect_fault(says, does)


@pytest.mark.skipif(not CONTAINERD.startswith("2.1"), reason="containerd 2.3 takes the table")
def test_doctor_knows_the_options_trap(node):
    table = f"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{HANDLER}.options]\nBinaryName = 'crun'\n"
    with changed(OURS, lambda t: t + "\n" + table):
        expect_fault("table of options", f"take [...runtimes.{HANDLER}.options] out")


@pytest.mark.skipif(CONTAINERD.startswith("2.1"), reason="containerd 2.1 does not pull it")
def test_doctor_misses_the_pause_image(node):
    with changed(MAIN, lambda t: t.replace("localhost/kuasar/pause:test", "localhost/none:1")):
        expect_fault("localhost/none:1 is not in the image store", "pinned_images.sandbox", code=1)


def test_doctor_looks_at_modes_and_the_quarantine(node):
    sock = STATE / "sandboxer-inspect.sock"
    os.chmod(sock, 0o666)
    (STATE / "quarantine" / "left").write_text("")
    try:
        expect_fault("has mode 0666", "chmod 0600")
        expect_fault("holds 1 records", "by hand")
    finally:
        os.chmod(sock, 0o600)
        (STATE / "quarantine" / "left").unlink()


HOSTILE = {
    "no command": ((), "no command is given"),
    "unknown command": (("destroy",), "is no command"),
    "unknown option": (("list", "--all"), '"--all" is no option'),
    "no id": (("show",), "ID is missing"),
    "empty id": (("show", ""), "is empty"),
    "slash": (("show", "../../etc/passwd"), "--namespace"),
    "long id": (("show", "a" * 5000), "at most 76"),
    "escape": (("show", "\x1b[31m"), '"?[31m"'),
    "bad namespace": (("show", "a", "-n", "a/b"), "--namespace"),
    "bad timeout": (("list", "-t", "-1"), "--timeout"),
    "bad dir": (("list", "-r", "run"), "--run-dir"),
    "bad kind": (("list", "-k", "../x"), "--kind"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_arguments(case):
    argv, says = HOSTILE[case]
    result = ctl(*argv, code=64)
    assert says in result.stderr and len(result.stderr) < 1200 and "\x1b" not in result.stderr
    assert result.stdout == ""


def installed(path):
    return pathlib.Path(shutil.which("kuasar-ctl")).parents[1] / "share" / path


@pytest.mark.parametrize("path", ["zsh/site-functions/_kuasar-ctl", "fish/vendor_completions.d/kuasar-ctl.fish", "man/man8/kuasar-ctl.8"])
def test_is_installed(path):
    """What test/lint looks at, where a shell or man looks for it."""
    assert "kuasar-ctl" in installed(path).read_text()


COMPLETE = """. "$1"; COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2)); read -r _ _ name _ < <(complete -p kuasar-ctl)
"$name"; printf '%s\\n' "${COMPREPLY[@]}" """


def test_bash_completes_ids_and_kinds_of_the_node(node):
    complete = lambda *words: set(run("bash", "--norc", "-c", COMPLETE, "bash", installed("bash-completion/completions/kuasar-ctl"),
                                      "kuasar-ctl", *words).stdout.split())
    pod = node.pod()
    container = pod.run("sleep", "1000")
    assert complete("show", "") == {pod.id, container.id}
    assert complete("show", container.id[:10]) == {container.id}
    assert complete("list", "--kind", "") == {KIND}
    assert complete("doctor", "--qu") == {"--quiet"}
    pod.remove()
    assert complete("show", "") == set()


def keys_of_page():
    """section -> names of objects -> their keys, as the page has them: "object: key, key (of what), key"."""
    found = {}
    page = (kuasar.SOURCE / "docs/man/kuasar-ctl.8.in").read_text()
    text = page[page.index("\n.SH JSON"):page.index("\n.SH EXIT")].partition("\n.PP")[0]
    for part in text.split("\n.TP\n.B ")[1:]:
        command, _, lines = part.partition("\n")
        plain = re.sub(r"\([^()]*\)", "", re.sub(r"^\.IR (\w+) :", r"\1:", lines, flags=re.MULTILINE))
        found[command] = {name: set(re.findall(r"\w+", keys)) for name, keys in re.findall(r"(\w+):\s([^.]*)\.", plain)}
    return found


def keys(objects):
    return set().union(*objects)


@on_the_host
def test_the_page_has_the_keys_of_json(node):
    """All that is printed, and no other."""
    page = keys_of_page()
    broken = STATE / "sandboxes/broken"
    with followed(node) as seen:
        pod = node.pod(linux={"resources": {"memory_limit_in_bytes": 96 << 20}})
        container = pod.run("sleep", "1000")
        container.cgroup().file("pids", "pids.max").write_text("100")
        program = subprocess.Popen(["crictl", "exec", "-s", container.id, "sleep", "1000"])
        until(lambda: entries()[container.id]["execs"] == 1, "it has an exec")
        shown, lists = [ctl_json("show", who.id) for who in (pod, container)], [ctl_json("list")]
        pid = container.pid()
        node.stop_containerd()  # which would have what has exited forgotten
        os.kill(pid, signal.SIGKILL)
        program.wait(timeout=30)
        until(lambda: entries()[container.id]["state"] == "stopped", "it is over")
        shown.append(ctl_json("show", container.id))
        lists.append(ctl_json("list"))
        node.kill_sandboxer()
        broken.mkdir()
        (broken / "sandbox.json").write_text("{")
        try:
            until(lambda: any("no_answer" in e for e in seen()), "that is told")
            lists.append(ctl_json("list", code=1))
            findings = faults()
        finally:
            shutil.rmtree(broken)
            node.start_sandboxer(*node.daemon_args)
            node.start_containerd()
        until(lambda: any("answers" in e for e in seen()), "that it is there again is told")
        events = seen()
    for name in ("daemons", "entries", "broken_records"):
        assert keys(x for told in lists for x in told[name]) == page["list"][name], name
    assert keys(lists) == set(page["list"])
    assert keys(shown) == page["list"]["entries"] | page["show"]["and"]
    for name in ("processes", "operations"):
        assert keys(x for told in shown for x in told.get(name, [])) == page["show"][name], name
    assert keys(told["now"] for told in shown) == page["show"]["now"]
    assert keys(told["now"]["cgroup_values"] for told in shown) == page["show"]["cgroup_values"]
    assert keys(e for e in events if "topic" in e) == page["events"]["event"]
    slow = {"missed"}  # test_a_slow_follower_is_told_what_it_missed
    assert keys(e for e in events if "topic" not in e) | slow == page["events"]["daemon"]
    assert keys(findings) == page["doctor"]["findings"] and set(ctl_json("doctor", code=1 if lacks_cpuset() else 0)) == set(page["doctor"])


def test_what_is_not_there(node):
    assert "no sandbox or container begins with" in ctl("show", "zzz", code=2).stderr
    assert f"kinds found: {KIND}" in ctl("list", "-k", "nix", code=2).stderr
    assert "cannot read /nonexistent" in ctl("list", "-r", "/nonexistent", code=2).stderr
    pods = [node.pod() for _ in range(17)]  # of which two begin alike
    firsts = [pod.id[0] for pod in pods]
    common = next(c for c in firsts if firsts.count(c) > 1)
    assert "means several" in ctl("show", common, code=2).stderr


def test_daemons_that_lie(node):
    """A state directory whose sockets are stale, no sockets, hang, or answer garbage."""
    fake = node.dir / "run"
    kinds = {}
    servers = []
    garbage = None
    for name in ("stale", "file", "hangs", "garbage"):
        kinds[name] = fake / f"kuasar-{name}"
        (kinds[name] / "sandboxes").mkdir(parents=True)
    def listen(path):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(8)
        return server
    try:
        listen(kinds["stale"] / "task.sock").close()
        (kinds["file"] / "task.sock").write_text("")
        servers.append(listen(kinds["hangs"] / "task.sock"))
        garbage = subprocess.Popen(["python3", "-c", f"""
import socket
s = socket.socket(socket.AF_UNIX); s.bind({str(kinds['garbage'] / 'task.sock')!r}); s.listen(8)
while True:
    c, _ = s.accept(); c.recv(4096); c.sendall(b'\\xff' * 4096); c.close()
"""])
        until(lambda: (kinds["garbage"] / "task.sock").exists(), "it listens")
        (kinds["stale"] / "sandboxes" / "broken").mkdir()
        (kinds["stale"] / "sandboxes" / "broken" / "sandbox.json").write_text("{")
        listed = ctl_json("list", "-r", fake, "-t", "0.3", code=1)
        errors = {d["kind"]: d["error"] for d in listed["daemons"] if d["role"] == "task server"}
        assert "nobody listens" in errors["stale"]
        assert "is no socket" in errors["file"]
        assert "within 0.3 s" in errors["hangs"]
        assert errors["garbage"]
        assert listed["entries"] == [] and len(listed["broken_records"]) == 1
        assert ctl("list", "-r", fake, "-t", "0.3", code=1).stderr.count("remedy: ") == 8
    finally:
        if garbage:
            garbage.kill()
            garbage.wait()
        for server in servers:
            server.close()


# ---- two kinds ----------------------------------------------------------------------------------

OTHER = "runc" if KIND == "wasm" else "wasm"
OTHER_STATE = pathlib.Path(f"/run/kuasar-{OTHER}")


class Daemons:
    """Those of the other kind."""

    def __init__(self):
        self.start()

    def start(self):
        self.sandboxer = kuasar.start_daemon(f"{OTHER}-sandboxer")
        until(lambda: kuasar.listening(str(OTHER_STATE / "task.sock")), "its task server listens")

    def end(self, sig):
        """The sandboxer first: it would start another task server."""
        self.sandboxer.send_signal(sig)
        self.sandboxer.wait(timeout=20)
        for pid in kuasar.pids_of(f"{OTHER}-task"):
            os.kill(pid, sig)
        until(lambda: not kuasar.pids_of(f"{OTHER}-task"), "its task server is gone")


@pytest.fixture
def others(node):
    """The daemons of another kind, beside those of the node, and its handlers."""
    drop_in = CONF / f"kuasar-{OTHER}.toml"
    if OTHER != "runc" or HANDLER not in MAIN.read_text():
        kuasar.serve(OTHER)
    daemons = Daemons()
    node.stop_containerd()
    node.start_containerd()
    try:
        yield daemons
    finally:
        node.remove_pods()
        daemons.end(signal.SIGTERM)
        run("umount", "-R", OTHER_STATE, check=False)  # the pin of their mount namespace, if they had one
        shutil.rmtree(OTHER_STATE)
        drop_in.unlink(missing_ok=True)
        node.stop_containerd()
        node.start_containerd()


def wait_in(pod, kind, image):
    """A container of a pod, a module if it is of that kind."""
    return pod.run("/tool.wasm", "wait", "3600", image=wasm.IMAGE, name="web") if kind == "wasm" else pod.run("sleep", "1000", name="web")


def pods_of_both(node, image):
    """kind -> a pod and its container."""
    pods = {KIND: node.pod(), OTHER: node.pod(handler=f"kuasar-{OTHER}")}
    return {kind: (pod, wait_in(pod, kind, image)) for kind, pod in pods.items()}


@on_the_host
def test_two_kinds(node, image, others):
    with followed(node, 4) as seen:
        both = pods_of_both(node, image)
        told = lambda: {(e["kind"], e["topic"], e["id"]) for e in seen() if "topic" in e}
        wanted = {e for kind, (pod, c) in both.items() for e in ((kind, "/sandboxes/ready", pod.id), (kind, "/tasks/start", c.id))}
        until(lambda: wanted <= told(), "the events are told")
        assert not {(OTHER, topic, who) for kind, topic, who in told() if kind == KIND} & told(), "each by its own kind"

    listed = ctl_json("list")
    assert {(d["kind"], d["role"], d["program"], d["answers"], d["entries"]) for d in listed["daemons"]} == {
        (kind, role, f"{kind}-{program}", True, 1) for kind in both for role, program in (("sandboxer", "sandboxer"), ("task server", "task"))}
    assert {(e["kind"], e["type"], e["id"]) for e in listed["entries"]} == {
        (kind, *e) for kind, (pod, c) in both.items() for e in (("sandbox", pod.id), ("container", c.id))}
    rows = [line.split() for line in ctl("list", "-l").stdout.splitlines()]
    column = rows[0].index("KIND")
    for kind, (pod, c) in both.items():
        assert {row[1]: row[column] for row in rows if row[1] in (pod.id, c.id)} == {pod.id: kind, c.id: kind}
        assert {e["id"] for e in ctl_json("list", "-k", kind)["entries"]} == {pod.id, c.id}
        for who in (pod, c):
            shown = ctl_json("show", who.id[:20])
            assert (shown["id"], shown["kind"]) == (who.id, kind)
            assert f"\n  kind                   {kind}\n" in ctl("show", who.id).stdout
    assert "no sandbox or container" in ctl("show", "-k", KIND, both[OTHER][1].id, code=2).stderr

    found = [f["text"] for f in ctl_json("doctor", code=1 if lacks_cpuset() else 0)["findings"]]
    for kind in both:
        for role in ("sandboxer", "task server"):
            assert any(f"the {role} of kind {kind} answers: " in text for text in found), found
    expect_order()

    ctl("dump", "-o", node.dir / "both.tar")
    files = unpack(node.dir / "both.tar")
    assert {(e["kind"], e["id"]) for e in json.loads(files["list.json"])["entries"]} == {(e["kind"], e["id"]) for e in listed["entries"]}
    for kind, (pod, c) in both.items():
        for name in (f"show/{kind}/{pod.id}.json", f"show/{kind}/k8s.io-{c.id}.json", f"records/{kind}/sandboxes/{pod.id}/sandbox.json",
                     f"records/{kind}/tasks/k8s.io/{c.id}.json", f"records/{kind}/tree.txt", f"system/mounts-{kind}",
                     f"system/{kind}-sandboxer/status", f"system/{kind}-task/status", f"logs/{kind}-sandboxer.log"):
            assert name in files, f"{name} is not among {sorted(files)}"
        assert pod.id in {e["id"] for e in json.loads(files[f"events/{kind}-sandboxer.json"])}
        assert pod.id in files[f"system/mounts-{kind}"]


@contextlib.contextmanager
def sandbox(kind, name):
    """One of this id, on the host's network, by a call to its daemon."""
    controller = lambda method, *more: wire.Grpc(f"/run/{kind}-sandboxer.sock").call(method, wire.message((1, name), *more))
    namespaces = wire.message((1, 2), (2, 1))
    config = wire.message((1, wire.message((1, name), (2, kind), (3, "e2e"))), (8, wire.message((2, wire.message((1, namespaces))))))
    controller("Create", (3, wire.any_of("runtime.v1.PodSandboxConfig", config)))
    try:
        yield
    finally:
        controller("Shutdown")


@on_the_host
def test_one_id_in_two_kinds(others):
    with sandbox(KIND, "twin"), sandbox(OTHER, "twin"), sandbox(OTHER, "twine"):
        several = ctl("show", "twin", code=2).stderr
        assert f"means several ({KIND} twin, {OTHER} twin)" in several or f"means several ({OTHER} twin, {KIND} twin)" in several, several
        assert "--kind" in several
        for kind in (KIND, OTHER):
            shown = ctl_json("show", "twin", "--kind", kind)
            assert (shown["kind"], shown["id"], shown["state"]) == (kind, "twin", "created")
        assert f"{OTHER} twine" in ctl("show", "twi", code=2).stderr
        assert ctl_json("show", "twine")["kind"] == OTHER


@on_the_host
def test_one_kind_without_its_daemons(node, image, others):
    both = pods_of_both(node, image)
    others.end(signal.SIGKILL)
    try:
        listed = ctl("list", code=1)
        for role in ("sandboxer", "task server"):
            assert f"the {role} of kind {OTHER} does not answer" in listed.stderr
        assert f"of kind {KIND}" not in listed.stderr
        found = entries(code=1)
        for kind, (pod, c) in both.items():
            source = "daemon" if kind == KIND else "journal"
            assert {who.id: (found[who.id]["kind"], found[who.id]["from"]) for who in (pod, c)} == dict.fromkeys((pod.id, c.id), (kind, source))
            code = 0 if kind == KIND else 1
            assert {e["id"] for e in ctl_json("list", "--kind", kind, code=code)["entries"]} == {pod.id, c.id}
            assert ctl_json("show", c.id, code=code)["from"] == source
        assert sum(f["text"].startswith("the ") and f" of kind {OTHER} does not answer" in f["text"] for f in faults(2)) == 2
        ctl("doctor", "--kind", KIND, code=1 if lacks_cpuset() else 0)
        ctl("dump", "-o", node.dir / "half.tar", code=1)
        files = unpack(node.dir / "half.tar")
        assert {e["id"] for e in json.loads(files["list.json"])["entries"]} == set(found)
        for kind, (pod, c) in both.items():
            assert f"show/{kind}/{pod.id}.json" in files and f"show/{kind}/k8s.io-{c.id}.json" in files
    finally:
        others.start()
    ctl("list")
    for kind, (pod, c) in both.items():
        assert pod.state() == "SANDBOX_READY"
        assert entries()[pod.id]["from"] == "daemon"
    until(lambda: both[OTHER][1].state() == "CONTAINER_EXITED", "the next task server ends what the killed one left")
    assert both[KIND][1].state() == "CONTAINER_RUNNING"
