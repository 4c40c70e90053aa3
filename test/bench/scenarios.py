"""The measurements. Each takes the handlers in turn (A B A B ...), so that what the machine does besides meets all of them, and
returns {measure: {handler: [values]}}."""

import collections
import concurrent.futures
import os
import pathlib
import signal
import statistics
import subprocess
import time

import grpc

import machine
from cri import EXITED, Client, Pod

SLEEP = ("sleep", "86400")
GIB = 1 << 30
SOCKET = "unix:///run/runc-sandboxer.sock"
# What is compared: handler -> (kind of runtime, OCI runtime).
HANDLERS = {"runc": ("shim", "runc"), "crun": ("shim", "crun"), "kuasar-runc": ("kuasar", "runc"), "kuasar-crun": ("kuasar", "crun")}
PROGRAMS = {"shim": machine.SHIM, "kuasar": machine.OURS}


def results():
    return collections.defaultdict(lambda: collections.defaultdict(list))


class Bench:
    def __init__(self, containerd_pid, daemon, log_dir, say):
        self.client = Client()
        self.containerd = containerd_pid
        self.cpu = machine.RuntimeCpu(containerd_pid)
        self.daemon = daemon  # how the sandboxer is started again
        self.log_dir = log_dir
        self.say = say

    def pod(self, handler):
        return Pod(self.client, handler, self.log_dir)

    def running(self, handler, *command):
        return self.pod(handler).run().create(*(command or SLEEP)).start()

    def fill(self, handler, n, workers=2):
        """n running pods."""
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda _: self.running(handler), range(n)))

    def clear(self, pods):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(Pod.end, pods))
        for pod in pods:
            for hierarchy in pathlib.Path("/sys/fs/cgroup").iterdir():
                try:
                    os.rmdir(str(hierarchy) + pod.config.linux.cgroup_parent)  # a stock pod leaves it to the kubelet
                except OSError:
                    pass


def ms_since(begin):
    return (time.perf_counter() - begin) * 1000


def cycle(bench, handler, into):
    """One pod with one container, from nothing to nothing."""
    pod = bench.pod(handler)
    cpu = bench.cpu.now()
    begin = time.perf_counter()
    pod.run()
    into["run pod"][handler].append(ms_since(begin))
    step = time.perf_counter()
    pod.create(*SLEEP)
    into["create container"][handler].append(ms_since(step))
    step = time.perf_counter()
    pod.start()
    into["start container"][handler].append(ms_since(step))
    into["pod and container started"][handler].append(ms_since(begin))
    into["CPU of a start"][handler].append((bench.cpu.now() - cpu) / 1e6)
    time.sleep(0.02)  # what was started may finish its own work
    begin = time.perf_counter()
    pod.stop_container()
    pod.remove_container()
    pod.stop()
    pod.remove()
    into["stopped and removed"][handler].append(ms_since(begin))
    bench.clear([pod])


def cycles(bench, n):
    into = results()
    for handler in HANDLERS:
        cycle(bench, handler, results())  # warm
    for _ in range(n):
        for handler in HANDLERS:
            cycle(bench, handler, into)
    return into


def parallel(bench, rounds, pods=30, workers=8):
    """Pods started per second by several workers."""
    into = results()
    for _ in range(rounds):
        for handler in HANDLERS:
            begin = time.perf_counter()
            started = bench.fill(handler, pods, workers)
            into["pods started per second, 8 workers"][handler].append(pods / (time.perf_counter() - begin))
            bench.clear(started)
    return into


def execs(bench, n):
    into = results()
    pods = {handler: bench.running(handler) for handler in HANDLERS}
    for i in range(n + 5):
        for handler, pod in pods.items():
            begin = time.perf_counter()
            code = pod.exec("true").exit_code
            if code != 0:
                raise RuntimeError(f"exec in a pod of {handler} ended with {code}")
            if i >= 5:
                into["exec of true"][handler].append(ms_since(begin))
    bench.clear(pods.values())
    return into


def exits(bench, n):
    """From a container's end to EXITED in CRI. The container's first process is killed from outside."""
    into = results()
    pods = {handler: bench.pod(handler).run() for handler in HANDLERS}
    for _ in range(n):
        for handler, pod in pods.items():
            pod.create(*SLEEP).start()
            pid = container_pid(pod)
            begin = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            while pod.status().status.state != EXITED:
                if ms_since(begin) > 20000:
                    raise RuntimeError(f"a container of {handler} never exited")
                time.sleep(0.0002)
            into["exit to EXITED"][handler].append(ms_since(begin))
            pod.remove_container()
    bench.clear(pods.values())
    return into


def container_pid(pod):
    import json
    return json.loads(pod.status(verbose=True).info["info"])["pid"]


def stdout(bench, rounds):
    """1 GiB through a container's standard output into its log."""
    into = results()
    for _ in range(rounds):
        for handler in HANDLERS:
            pod = bench.pod(handler).run().create("dd", "if=/dev/zero", "bs=64k", f"count={GIB >> 16}")
            begin = time.perf_counter()
            pod.start()
            while pod.status().status.state != EXITED:
                time.sleep(0.01)
            into["1 GiB through stdout, MiB/s"][handler].append(1024 / (time.perf_counter() - begin))
            log = pathlib.Path(bench.log_dir) / f"{pod.id}.log"
            if log.stat().st_size < GIB:
                raise RuntimeError(f"{handler}: the log has {log.stat().st_size} bytes")
            log.unlink()
            bench.clear([pod])
    return into


def memory(bench, most=100, step=20):
    """Memory of the runtime's processes over running pods, in KiB: {handler: [[pods, KiB], ...]}."""
    into = results()
    for handler in HANDLERS:
        programs = PROGRAMS[HANDLERS[handler][0]]
        pods = []
        for n in range(0, most + 1, step):
            pods += bench.fill(handler, n - len(pods))
            time.sleep(0.2)
            into["memory over pods"][handler].append([n, machine.pss_of(programs)])
        bench.clear(pods)
    return into


def idle(bench, pods=20, seconds=10):
    """Context switches per second of the runtime's processes while pods do nothing. containerd asks for the statistics of every
    running container once a second; that is in the figures."""
    into = results()
    for handler in HANDLERS:
        programs = PROGRAMS[HANDLERS[handler][0]]
        running = bench.fill(handler, pods)
        time.sleep(2)
        before = machine.switches_of(programs)
        time.sleep(seconds)
        into["context switches per second, 20 pods"][handler].append((machine.switches_of(programs) - before) / seconds)
        bench.clear(running)
    return into


def crowded(bench, n, pods=200):
    """Starting one more pod where many run."""
    into = results()
    for handler in ("runc", "kuasar-runc"):
        few = bench.fill(handler, 1)
        starts(bench, handler, n, into, "start beside 1 pod")
        many = bench.fill(handler, pods - 1)
        starts(bench, handler, n, into, "start beside 200 pods")
        if handler == "kuasar-runc":
            recover(bench, into)
        bench.clear(few + many)
    return into


def starts(bench, handler, n, into, name):
    for _ in range(n):
        begin = time.perf_counter()
        pod = bench.running(handler)
        into[name][handler].append(ms_since(begin))
        bench.clear([pod])


def recover(bench, into, rounds=5):
    """kill -9 of the sandboxer with its sandboxes, until it answers again."""
    for _ in range(rounds):
        begin = time.perf_counter()
        bench.daemon.restart()
        wait_healthy()
        into["killed sandboxer answers again, 200 pods"]["kuasar-runc"].append(ms_since(begin))


def scale(bench, steps, n):
    """What grows with running pods, ours alone: {quantity: [[pods, value], ...]}."""
    into = results()
    pods = []
    for step in steps:
        pods += bench.fill("kuasar-runc", step - len(pods), 4)
        time.sleep(1)
        for name, value in grown(bench, pods, n).items():
            into[name]["kuasar-runc"].append([step, value])
    bench.clear(pods)
    return into


def grown(bench, pods, n):
    pids = {name: machine.pids_of(name)[0] for name in ("runc-sandboxer", "runc-task")}
    one = results()
    starts(bench, "kuasar-runc", n, one, "start")
    for _ in range(n):
        begin = time.perf_counter()
        pods[0].exec("true")
        one["exec"][""].append(ms_since(begin))
    for _ in range(3):
        begin = time.perf_counter()
        bench.daemon.restart()
        wait_healthy()
        one["recovery"][""].append(ms_since(begin))
    pids["runc-sandboxer"] = bench.daemon.process.pid
    time.sleep(8)  # containerd asks the new sandboxer for the end of each pod within 7 s
    return {"start, ms": statistics.median(one["start"]["kuasar-runc"]), "exec, ms": statistics.median(one["exec"][""]),
            "recovery of the sandboxer, ms": statistics.median(one["recovery"][""]),
            **{f"memory of {name}, KiB (Pss)": machine.pss_kib(pid) for name, pid in pids.items()},
            **{f"descriptors of {name}": len(os.listdir(f"/proc/{pid}/fd")) for name, pid in pids.items()},
            "mounts": len(machine.read("/proc/self/mountinfo").splitlines())}


def wait_healthy():
    """grpc.health.v1.Health/Check with an empty request, on a connection of its own; retried until it answers."""
    end = time.monotonic() + 30
    while True:
        if os.path.exists("/run/runc-sandboxer.sock"):
            with grpc.insecure_channel(SOCKET, options=[("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]) as channel:
                call = channel.unary_unary("/grpc.health.v1.Health/Check", lambda m: b"", lambda b: b)
                try:
                    return call(None, timeout=1)
                except grpc.RpcError:
                    pass
        if time.monotonic() > end:
            raise RuntimeError("the sandboxer does not answer")
        time.sleep(0.001)


class Daemon:
    """The sandboxer, started by us as by a service manager."""

    def __init__(self):
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(["runc-sandboxer"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open("/var/log/runc-sandboxer.log", "ab"), start_new_session=True)

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()
