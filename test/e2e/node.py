"""What tests do on a node: run programs, drive CRI by crictl, and watch the machine.

Everything here runs inside a disposable node (test/node), as root.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import uuid

import pytest

# The kind under test; pods of another one, too, find their files by its names.
KIND = os.environ.get("KUASAR_KIND", "runc")
HANDLER = f"kuasar-{KIND}"
SANDBOXER, TASK = f"{KIND}-sandboxer", "vmm-relay" if KIND == "vmm" else f"{KIND}-task"
IMAGE = "localhost/kuasar/busybox:test"
STATE = pathlib.Path(f"/run/{HANDLER}")
SPACE = STATE / "mounts"  # the daemons' mount namespace
MOUNTPOINTS = pathlib.Path("/var/lib/kuasar/mountpoints")  # of all containers
SOCKET = f"/run/{SANDBOXER}.sock"
TASK_SOCKET = str(STATE / "task.sock")
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD = os.environ.get("KUASAR_CONTAINERD", "2.3.4")
LOGS = pathlib.Path(os.environ.get("KUASAR_LOGS", "/var/log"))
SOURCE = pathlib.Path(__file__).resolve().parents[2]


def not_in_machines(reason):
    """A mark: what is tested is not so with virtual machines."""
    return pytest.mark.skipif(KIND == "vmm", reason=reason)


def until(condition, what, timeout=20.0, step=0.02):
    """Waits until condition() is true and returns its value; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(step)


def agree(told, real, what="the numbers agree", slack=64 << 10):
    """Waits until two readings of a memory counter, one after the other, are about the same: the kernel charges and gives
    back up to 64 pages per CPU at a time, whenever it likes."""
    until(lambda: abs(told() - real()) <= slack, what)


class Failed(Exception):
    """A program that ended with another code than 0."""

    def __init__(self, result):
        super().__init__(f"{result.args}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        self.code = result.returncode
        self.out = result.stdout
        self.err = result.stderr


def run(*argv, check=True, timeout=60, text=True, **more):
    """Runs a program and returns the finished process; raises Failed if check and the code is not 0."""
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=text, timeout=timeout,
                            stdin=more.pop("stdin", subprocess.DEVNULL if "input" not in more else None), **more)
    if check and result.returncode != 0:
        raise Failed(result)
    return result


def crictl(*argv, **more):
    return run("crictl", *argv, **more)


def crictl_json(*argv, **more):
    return json.loads(crictl(argv[0], "-o", "json", *argv[1:], **more).stdout)


class Container:
    def __init__(self, pod, container_id, log):
        self.pod = pod
        self.id = container_id
        self.log = log

    def start(self):
        crictl("start", self.id)
        return self

    def exec(self, *argv, check=True, timeout=60, **more):
        """crictl exec --sync. crictl prints what came on standard output, a newline, what came on standard error,
        a newline; the two newlines at the end are taken off here."""
        result = crictl("exec", "-s", self.id, *argv, check=check, timeout=timeout, **more)
        if result.stdout.endswith("\n\n"):
            result.stdout = result.stdout[:-2]
        return result

    def status(self):
        return crictl_json("inspect", self.id)["status"]

    def info(self):
        return crictl_json("inspect", self.id)["info"]

    def pid(self):
        return self.info()["pid"]

    def state(self):
        return self.status()["state"]

    def wait_exit(self, timeout=30):
        """Waits until CRI says that it has exited; returns the exit code."""
        until(lambda: self.state() == "CONTAINER_EXITED", f"container {self.id} exits", timeout)
        return self.status()["exitCode"]

    def cgroup(self):
        return self.pod.cgroup() / self.id

    def rootfs(self):
        """Of its mount, an overlay: the options."""
        found = [line.split() for line in in_space("cat", "/proc/self/mounts").stdout.splitlines() if f"/{self.id} " in line]
        assert len(found) == 1 and found[0][2] == "overlay"
        return found[0][3]

    def upper(self):
        """Of its rootfs: what is its own."""
        return pathlib.Path(re.search(r"upperdir=([^,]+)", self.rootfs())[1])

    def logs(self):
        return crictl("logs", self.id).stdout

    def stop(self, grace=5):
        crictl("stop", "-t", grace, self.id)

    def remove(self):
        crictl("rm", self.id)


def exit_code(result):
    """The program's exit code in what Container.exec(check=False) returned."""
    if result.returncode == 0:
        return 0
    match = re.search(r"exited with (\d+)", result.stderr)
    assert match, f"no exit code in {result.stderr!r}"
    return int(match.group(1))


def kubelet_labels(metadata, **more):
    """The labels that a kubelet gives a pod and its containers; crictl finds a container's pod by them."""
    return {f"io.kubernetes.pod.{key}": metadata[key] for key in ("name", "namespace", "uid")} | more


class Pod:
    def __init__(self, node, pod_id, config, path, handler=HANDLER):
        self.node = node
        self.handler = handler
        self.id = pod_id
        self.config = config
        self.path = path

    def create(self, *command, name=None, image=IMAGE, **fields):
        name = name or f"c{uuid.uuid4().hex[:8]}"
        config = {
            "metadata": {"name": name, "attempt": fields.pop("attempt", 0)},
            "image": {"image": image},
            "command": list(command),
            "labels": kubelet_labels(self.config["metadata"], **{"io.kubernetes.container.name": name}),
            "log_path": f"{name}.log",
            "linux": {"security_context": {"namespace_options": {"pid": 1}}},
        }
        merge(config, fields)
        path = self.node.write(f"container-{name}.json", config)
        container_id = Node.retry_unavailable(lambda: crictl("create", self.id, path, self.path, timeout=60)).stdout.strip()
        return Container(self, container_id, pathlib.Path(self.config["log_directory"]) / config["log_path"])

    def run(self, *command, **fields):
        return self.create(*command, **fields).start()

    def status(self):
        return Node.retry_unavailable(lambda: crictl_json("inspectp", self.id))["status"]

    def ip(self):
        return self.status()["network"]["ip"]

    def state(self):
        return self.status()["state"]

    def cgroup(self):
        """Where its config says that it is (by a path)."""
        return Cgroup(self.config["linux"]["cgroup_parent"])

    def netns(self):
        return of_space(STATE / f"sandboxes/{self.id}/ns/net")

    def stop(self):
        Node.retry_unavailable(lambda: crictl("stopp", self.id, timeout=90))

    def remove(self):
        Node.retry_unavailable(lambda: crictl("rmp", "-f", self.id, timeout=90))
        if self.handler != HANDLER:
            # A stock pod leaves its parent cgroup to the kubelet; here the test stands in for that.
            Cgroup(self.config["linux"]["cgroup_parent"]).remove()

    def remove_if_there(self):
        with contextlib.suppress(Failed):
            self.remove()


def merge(into, other):
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def serve(kind):
    """Gives containerd, at its next start, the handlers of a kind: the example's, and the default one's with streaming IO."""
    text = (SOURCE / f"examples/containerd/kuasar-{kind}.toml").read_text()
    lines = text[text.index(f"{table(f'kuasar-{kind}')}]"):].split("\n\n")[0].replace(f"kuasar-{kind}]", f"kuasar-{kind}-streaming]")
    drop_in = pathlib.Path(f"/etc/containerd/conf.d/kuasar-{kind}.toml")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(f'{text}\n{lines}\n  io_type = "streaming"\n')


OURS = f"  runtime_type = \"io.containerd.{HANDLER}.v1\"\n  sandboxer = \"{KIND}\"\n"


def table(handler):
    """How a handler's table begins in containerd's configuration."""
    return f"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{handler}"


def start_daemon(sandboxer, *args):
    """Starts a kind's daemon; returns the process when it listens."""
    with open(LOGS / f"{sandboxer}.log", "ab") as log:
        daemon = subprocess.Popen([sandboxer, "--log-level", "debug", *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  start_new_session=True)
    until(lambda: listening(f"/run/{sandboxer}.sock") or daemon.poll() is not None, f"{sandboxer} listens", 30)
    assert daemon.poll() is None, f"{sandboxer} ended:\n" + tail(LOGS / f"{sandboxer}.log")
    return daemon


class Node:
    """The node under test: containerd and our daemons, and whatever a test makes on them."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="e2e-"))
        self.pods = []
        self.daemon = None
        self.daemon_args = []

    def write(self, name, value):
        path = self.dir / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return str(path)

    # ---- daemons

    def start_sandboxer(self, *args):
        self.daemon_args = args
        self.daemon = start_daemon(SANDBOXER, *args)

    def kill_sandboxer(self, sig=signal.SIGKILL):
        self.daemon.send_signal(sig)
        self.daemon.wait(timeout=20)

    def restart_sandboxer(self, sig=signal.SIGKILL):
        self.kill_sandboxer(sig)
        self.start_sandboxer(*self.daemon_args)

    def restart_daemons(self, *args):
        """Ends both daemons, with nothing to do, and starts them with other arguments."""
        self.remove_pods()
        self.end_daemons()
        self.start_sandboxer(*args)

    def end_daemons(self):
        """A requested end of both: in order, with exit code 0 (a sanitizer's leak report would change it)."""
        task = self.task_pid()
        self.daemon.send_signal(signal.SIGTERM)
        assert self.daemon.wait(timeout=20) == 0, "the sandboxer's exit code\n" + tail(LOGS / f"{SANDBOXER}.log")
        os.kill(task, signal.SIGTERM)
        until(lambda: not os.path.exists(f"/proc/{task}"), "the task server ends when it has no tasks")

    def daemon_pids(self):
        return {SANDBOXER: self.daemon.pid, TASK: self.task_pid()}

    def task_pid(self):
        """The pid of the one task server."""
        pids = pids_of(TASK)
        assert len(pids) == 1, f"want one task server, have {pids}"
        return pids[0]

    def start_containerd(self):
        if KIND != "runc":  # whose handlers the node has from the start
            serve(KIND)
        run("start-containerd", timeout=60)

    def stop_containerd(self, how="TERM"):
        run("stop-containerd", how, timeout=60)

    @contextlib.contextmanager
    def drop_in(self, name, text):
        """More of containerd's configuration; containerd is restarted for it."""
        path = pathlib.Path(f"/etc/containerd/conf.d/{name}.toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"version = 3\n{text}")
        self.stop_containerd()
        self.start_containerd()
        try:
            yield
        finally:
            self.remove_pods()
            path.unlink()
            self.stop_containerd()
            self.start_containerd()

    @contextlib.contextmanager
    def handler(self, name, options):
        """A handler of ours with these lines in its table of runc's options."""
        with self.drop_in(name, f"{table(name)}]\n{OURS}{table(name)}.options]\n{options}\n"):
            yield name

    def revive(self):
        """Starts what a failed test has left ended, for the tests after it."""
        if not listening(CONTAINERD_SOCKET):
            self.stop_containerd("KILL")
            self.start_containerd()
        if self.daemon.poll() is not None:
            self.start_sandboxer(*self.daemon_args)

    # ---- pods

    @staticmethod
    def retry_unavailable(call, timeout=10):
        """After a sandboxer's restart containerd dials again within 3 s, and fails calls until then; a kubelet
        tries again, and so do we."""
        end = time.monotonic() + timeout
        while True:
            try:
                return call()
            except Failed as e:
                if "code = Unavailable" not in e.err or time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def pod(self, handler=HANDLER, **fields):
        name = f"pod-{uuid.uuid4().hex[:8]}"
        logs = self.dir / "logs" / name
        logs.mkdir(parents=True)
        uid = uuid.uuid4().hex
        config = {
            "metadata": {"name": name, "namespace": "e2e", "uid": uid, "attempt": 0},
            "log_directory": str(logs),
            # as a kubelet names them
            "linux": {"cgroup_parent": f"/kubepods/besteffort/pod{uid}", "security_context": {"namespace_options": {"pid": 1}}},
        }
        merge(config, fields)
        config["labels"] = kubelet_labels(config["metadata"]) | config.get("labels", {})
        path = self.write(f"{name}.json", config)
        pod_id = self.retry_unavailable(lambda: crictl("runp", "--runtime", handler, path, timeout=90)).stdout.strip()
        pod = Pod(self, pod_id, config, path, handler)
        self.pods.append(pod)
        return pod

    def remove_pods(self):
        for pod in self.pods:
            pod.remove_if_there()
        for pod_id in crictl("pods", "-q").stdout.split():
            Pod(self, pod_id, None, None).remove_if_there()
        self.pods = []

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- cgroups ------------------------------------------------------------------------------------

CGROUP_ROOT = pathlib.Path("/sys/fs/cgroup")
V2 = (CGROUP_ROOT / "cgroup.controllers").exists()


class Cgroup:
    """A cgroup of either version, by its path from the root. Numbers are bytes, microseconds and nanoseconds;
    a limit that is not set is None."""

    def __init__(self, path):
        self.path = path

    def __truediv__(self, name):
        return Cgroup(f"{self.path}/{name}")

    def dirs(self):
        """Its directories: one on version 2, one in every hierarchy that has it on version 1."""
        roots = [CGROUP_ROOT] if V2 else [p for p in CGROUP_ROOT.iterdir() if not p.is_symlink()]
        return [d for root in roots if (d := pathlib.Path(f"{root}{self.path}")).is_dir()]

    def exists(self):
        return bool(self.dirs())

    def make(self):
        """As a kubelet does, limits enabled."""
        names = self.path.strip("/").split("/")
        for controller in [""] if V2 else ["memory", "cpu", "cpuacct", "pids"]:
            at = CGROUP_ROOT / controller
            for name in names:
                if V2:
                    (at / "cgroup.subtree_control").write_text("+memory +cpu +pids")
                at = at / name
                at.mkdir(exist_ok=True)
        return self

    def remove(self):
        """If nothing is in it."""
        for d in self.dirs():
            with contextlib.suppress(OSError):
                d.rmdir()

    def file(self, controller, v1, v2=None):
        return pathlib.Path(f"{CGROUP_ROOT}{'' if V2 else '/' + controller}{self.path}/{v2 or v1 if V2 else v1}")

    def read(self, controller, v1, v2=None):
        return self.file(controller, v1, v2).read_text()

    def keyed(self, controller, v1, v2=None):
        return {k: int(v) for k, v in (line.split() for line in self.read(controller, v1, v2).splitlines())}

    def pids(self):
        return [int(pid) for pid in self.read("memory", "cgroup.procs").split()]

    # limits

    def memory_limit(self):
        text = self.read("memory", "memory.limit_in_bytes", "memory.max").strip()
        return None if text == "max" or int(text) >= 1 << 60 else int(text)

    def set_memory_limit(self, limit):
        self.file("memory", "memory.limit_in_bytes", "memory.max").write_text(str(limit))

    def cpu_quota(self):
        """(quota, period)"""
        if V2:
            quota, period = self.read("cpu", "cpu.max").split()
        else:
            quota, period = self.read("cpu", "cpu.cfs_quota_us"), self.read("cpu", "cpu.cfs_period_us")
        return None if quota.strip() in ("max", "-1") else int(quota), int(period)

    def cpu_weight(self):
        """Shares on version 1, weight on version 2."""
        return int(self.read("cpu", "cpu.shares", "cpu.weight"))

    def pids_limit(self):
        text = self.read("pids", "pids.max").strip()
        return None if text == "max" else int(text)

    def limits(self):
        quota, period = self.cpu_quota()
        return {"memory": self.memory_limit(), "weight": self.cpu_weight(), "quota": quota, "period": period}

    # what is used

    def memory_usage(self):
        return int(self.read("memory", "memory.usage_in_bytes", "memory.current"))

    def memory_peak(self):
        return int(self.read("memory", "memory.max_usage_in_bytes", "memory.peak"))

    def inactive_file(self):
        return self.keyed("memory", "memory.stat")["inactive_file" if V2 else "total_inactive_file"]

    def rss(self):
        return self.keyed("memory", "memory.stat")["anon" if V2 else "total_rss"]

    def cpu_ns(self):
        return self.keyed("cpu", "cpu.stat")["usage_usec"] * 1000 if V2 else int(self.read("cpuacct", "cpuacct.usage"))

    def pids_current(self):
        return int(self.read("pids", "pids.current"))

    def oom_kills(self):
        return self.keyed("memory", "memory.oom_control", "memory.events")["oom_kill"]


def pod_weight(shares):
    """What Cgroup.cpu_weight() tells of a pod with these shares (KEP-2254)."""
    return 1 + (shares - 2) * 9999 // 262142 if V2 else shares


def container_weights(shares):
    """What it may tell of a container: runtimes changed from that formula to another one, which meets the defaults
    of both versions (1024 is 100)."""
    if not V2:
        return {shares}
    l = math.log2(shares)
    return {pod_weight(shares), math.ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34))}


# ---- looking at the machine ---------------------------------------------------------------------


def listening(path):
    """Whether somebody listens on a unix socket (looked up, not connected to)."""
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines():
        fields = line.split()
        if fields[-1] == path and fields[3] == "00010000":
            return True
    return False


def processes():
    """pid -> command line (or name) of every process of the node, kernel threads and ourselves left out."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            found[int(entry.name)] = line or (entry / "comm").read_text().strip()
    return found


def pids_of(program):
    """Pids of living processes whose executable's name is `program`; not those that one of them has forked (jobs)."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if pathlib.Path(os.readlink(entry / "exe")).name == program:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid, parent in parents.items() if parent not in parents]


def in_space(*argv, **more):
    """Runs a program in the mount namespace of the daemons."""
    return run("nsenter", f"--mount={SPACE}", *argv, **more)


def of_space(path):
    """A path that shows what the daemons have mounted there."""
    return pathlib.Path(f"/proc/{(pids_of(TASK) or pids_of(SANDBOXER))[0]}/root{path}")


def host_mounts():
    return sorted(line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def mounts():
    """Mount points that only the daemons have."""
    own = [line.split()[4] for line in in_space("cat", "/proc/self/mountinfo").stdout.splitlines()]
    return sorted(m for m in own if m.startswith(f"{STATE}/"))


def cgroups():
    """Every cgroup directory, relative to its hierarchy."""
    found = set()
    for root, dirs, _ in os.walk("/sys/fs/cgroup"):
        for name in dirs:
            found.add(os.path.join(root, name))
    return found


def netns_files():
    base = pathlib.Path("/run/netns")
    return sorted(p.name for p in base.iterdir()) if base.exists() else []


def state_files():
    """Files of our daemons; locks and what was found out about runtimes and monitors stay."""
    return sorted(str(p.relative_to(STATE)) for p in STATE.rglob("*") if not p.name.endswith(".lock") and not p.name.startswith(("features-", "accelerator-")))


def http_get(port, path="/"):
    """What a web server on this node answers, b"" if there is none."""
    data = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        while chunk := s.recv(4096):
            data += chunk
        return data
    return b""


def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss_kib(pid, which="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1])
    return 0


def peak_rss_kib(pid):
    """The most since reset_peak_rss."""
    return rss_kib(pid, "VmHWM")


def reset_peak_rss(pid):
    """From now on the peak is that of what comes. False: this kernel cannot."""
    try:
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    except FileNotFoundError:
        return False
    return True


def census():
    """What must be as before when everything has been removed; taken when nothing is on its way out or in."""
    last = snapshot()
    for _ in range(50):
        time.sleep(0.1)
        now = snapshot()
        if now == last:
            break
        last = now
    return last


def fifos():
    found = []
    for base in ("/run/containerd", STATE):
        for root, _, names in os.walk(base):
            for path in (os.path.join(root, name) for name in names):
                with contextlib.suppress(OSError):
                    if stat.S_ISFIFO(os.lstat(path).st_mode):
                        found.append(path)
    return sorted(found)


def node_files():
    """What containerd keeps for what runs, and what we keep for all; modules that are compiled are kept on purpose."""
    found = []
    for base in ("/run/containerd", "/var/lib/kuasar"):
        for root, _, files in os.walk(base):  # directories, once made, may stay
            found += [os.path.join(root, name) for name in files]
    return sorted(found)


def snapshot():
    names = sorted(re.sub(r"\s.*", "", line) for line in processes().values())
    return {
        "processes": names,
        "mounts": host_mounts() + mounts(),
        "cgroups": sorted(cgroups()),
        "netns": netns_files(),
        "state": state_files(),
        "fifos": fifos(),
        "files": node_files(),
        "bundles": sorted(str(p) for p in pathlib.Path("/run/containerd/io.containerd.runtime.v2.task").glob("*/*")),
    }


def nothing_left(before, timeout=15):
    """Waits until the census equals the one before; says what differs."""
    def rest():
        after = census()
        return {k: sorted(set(after[k]) ^ set(before[k])) or "other counts" for k in before if after[k] != before[k]}
    with contextlib.suppress(AssertionError):
        until(lambda: not rest(), "nothing is left", timeout)
    left = rest()
    assert not left, f"left: {left}"


def tail(path, lines=40):
    with contextlib.suppress(OSError):
        return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    return ""
