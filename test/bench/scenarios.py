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
from cri import EXITED, Client, Kind, Pod

GIB = 1 << 30
# What is compared.
HANDLERS = {"runc": Kind("runc", machine.SHIM), "crun": Kind("crun", machine.SHIM),
            "kuasar-runc": Kind("kuasar-runc", machine.OURS), "kuasar-crun": Kind("kuasar-crun", machine.OURS)}
PAIR = ("runc", "kuasar-runc")
DAEMONS = ("runc-sandboxer", "runc-task")
SWITCHES = ("context switches per second, 20 pods", "context switches per second to wait, 20 pods")


def results():
    return collections.defaultdict(lambda: collections.defaultdict(list))


class Bench:
    def __init__(self, containerd_pid, daemon, kinds, log_dir, say):
        self.client = Client()
        self.kinds = kinds  # by the names in the results
        self.containerd = containerd_pid
        self.cpu = machine.RuntimeCpu(containerd_pid)
        self.daemon = daemon  # how the sandboxer is started again
        self.log_dir = log_dir
        self.say = say

    def pod(self, handler):
        return Pod(self.client, self.kinds[handler], self.log_dir)

    def running(self, handler, *command):
        return self.pod(handler).run().create(*command).start()

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
    pod.create()
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


def turns(rounds, handlers):
    """Each of them once a round, one way and the other way in turn: who comes behind whom must not matter."""
    for i in range(rounds):
        yield from list(handlers)[::-1 if i % 2 else 1]


def cycles(bench, n, handlers=HANDLERS):
    into = results()
    for handler in handlers:
        cycle(bench, handler, results())  # warm
    for handler in turns(n, handlers):
        cycle(bench, handler, into)
    return into


def parallel(bench, rounds, pods=30, workers=8):
    """Pods started per second by several workers."""
    into = results()
    for handler in turns(rounds, HANDLERS):
        begin = time.perf_counter()
        started = bench.fill(handler, pods, workers)
        into["pods started per second, 8 workers"][handler].append(pods / (time.perf_counter() - begin))
        bench.clear(started)
    return into


def execs(bench, n):
    """One exec after the other, with a pause between them: execs (probes) come alone."""
    into = results()
    pods = {handler: bench.running(handler) for handler in HANDLERS}
    for i in range(n + 5):
        for handler, pod in pods.items():
            time.sleep(0.05)
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
            pod.create().start()
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
    for handler in turns(rounds, HANDLERS):
        pod = bench.pod(handler).run().create("dd", "if=/dev/zero", "bs=64k", f"count={GIB >> 16}")
        begin = time.perf_counter()
        pod.start()
        while pod.status().status.state != EXITED:
            time.sleep(0.01)
        into["1 GiB through stdout, MiB/s"][handler].append(1024 / (time.perf_counter() - begin))
        if pod.log.stat().st_size < GIB:
            raise RuntimeError(f"{handler}: the log has {pod.log.stat().st_size} bytes")
        pod.log.unlink()
        bench.clear([pod])
    return into


def memory(bench, most=100, step=20, handlers=HANDLERS, name="memory over pods"):
    """Memory of the runtime's processes over running pods, in KiB: {handler: [[pods, KiB], ...]}."""
    into = results()
    for handler in handlers:
        programs = bench.kinds[handler].programs
        pods = []
        for n in range(0, most + 1, step):
            pods += bench.fill(handler, n - len(pods))
            time.sleep(0.2)
            into[name][handler].append([n, machine.pss_of(programs)])
        bench.clear(pods)
    return into


def idle(bench, pods=20, seconds=2, readings=10):
    """Context switches per second of the runtimes' processes while pods of both do nothing. containerd asks for the
    statistics of every running container once a second; that is in the figures."""
    into = results()
    running = [pod for handler in PAIR for pod in bench.fill(handler, pods)]
    time.sleep(2)
    for _ in range(readings):
        before = {handler: machine.switches_of(bench.kinds[handler].programs) for handler in PAIR}
        time.sleep(seconds)
        for handler in PAIR:
            after = machine.switches_of(bench.kinds[handler].programs)
            for name, a, b in zip(SWITCHES, before[handler], after):
                into[name][handler].append((b - a) / seconds)
    bench.clear(running)
    return into


def crowded(bench, n, pods=200):
    """Starting one more pod where many run."""
    into = results()
    for handler in PAIR:
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


def medians(n, action):
    """Median of n times, in milliseconds."""
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        action()
        times.append(ms_since(begin))
    return statistics.median(times)


def daemons(names=DAEMONS):
    return {name: machine.pids_of(name)[0] for name in names}


def held(names=DAEMONS):
    """Memory and descriptors of these daemons."""
    pids = daemons(names)
    return {**{f"memory of {name}, KiB (Pss)": machine.pss_kib(pids[name]) for name in names},
            **{f"descriptors of {name}": len(os.listdir(f"/proc/{pids[name]}/fd")) for name in names}}


def used(names=DAEMONS, seconds=5):
    """Processor time of these daemons while pods do nothing."""
    before = {name: machine.process_cpu_ns(pid) for name, pid in daemons(names).items()}
    time.sleep(seconds)
    return {f"processor time of {name} while pods do nothing, ms a second": (machine.process_cpu_ns(pid) - before[name]) / (seconds * 1e6)
            for name, pid in daemons(names).items()}


def grow(what, steps, measure, handler="kuasar-runc"):
    """{"what: quantity": {handler: [[step, value], ...]}} of ours alone; measure(step) makes it so many and returns the quantities."""
    into = results()
    for step in steps:
        for name, value in measure(step).items():
            into[f"{what}: {name}"][handler].append([step, value])
    return into


def scale(bench, steps, n):
    """What grows with running pods."""
    pods = []

    def measure(step):
        pods.extend(bench.fill("kuasar-runc", step - len(pods), 4))
        time.sleep(1)
        one = results()
        starts(bench, "kuasar-runc", n, one, "start")
        answers = {"start, ms": statistics.median(one["start"]["kuasar-runc"]), "exec, ms": medians(n, lambda: pods[0].exec("true"))}

        def restart():
            bench.daemon.restart()
            wait_healthy()
        answers["recovery of the sandboxer, ms"] = medians(3, restart)
        time.sleep(8)  # containerd asks the new sandboxer for the end of each pod within 7 s
        return answers | used() | held() | {
            "mounts of the daemons": len(machine.read(f"/proc/{bench.daemon.process.pid}/mountinfo").splitlines()),
            "mounts of the host": len(machine.read("/proc/self/mountinfo").splitlines())}
    into = grow("pods", steps, measure)
    bench.clear(pods)
    return into


def containers(bench, steps, n):
    """What grows with the containers of one pod."""
    pod = bench.running("kuasar-runc")

    def measure(step):
        while measure.running < step:
            pod.create().start()
            measure.running += 1

        def one_more():
            pod.create().start()
            pod.stop_container()
            pod.remove_container()
        return {"create, start, stop, remove one more, ms": medians(n, one_more)} | held(("runc-task",))
    measure.running = 1
    into = grow("containers of a pod", steps, measure)
    bench.clear([pod])
    return into


def parked_execs(bench, steps, n):
    """What grows with execs that run at the same time in one container."""
    pod = bench.running("kuasar-runc")
    with concurrent.futures.ThreadPoolExecutor(max(steps)) as pool:
        def measure(step):
            for _ in range(step - measure.running):
                pool.submit(pod.exec, "sleep", "3600", timeout=110)
            measure.running = step
            while sum(machine.read(f"/proc/{pid}/cmdline") == "sleep\0" "3600\0" for pid in machine.pids()) < step:
                time.sleep(0.1)
            return {"one more exec, ms": medians(n, lambda: pod.exec("true"))} | held(("runc-task",))
        measure.running = 0
        into = grow("execs of a container", steps, measure)
        pod.stop_container()  # ends them
    bench.clear([pod])
    return into


def away(bench, steps):
    """What grows with events that wait for containerd: it is killed, then so many containers end."""
    def measure(step):
        pods = bench.fill("kuasar-runc", step, 4)
        before = machine.pss_kib(daemons()["runc-task"])
        subprocess.run(["stop-containerd", "KILL"], check=True)
        for pid in machine.pids():
            if machine.read(f"/proc/{pid}/cmdline") == "\0".join(bench.kinds["kuasar-runc"].idle) + "\0":
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: task_metric("kuasar_events_queued") >= step)
        waiting = {"bytes that wait": task_metric("kuasar_events_queued_bytes"),
                   "memory of runc-task, KiB more (Pss)": max(1, machine.pss_kib(daemons()["runc-task"]) - before)}
        subprocess.run(["start-containerd"], check=True)
        begin = time.perf_counter()
        wait_for(lambda: task_metric("kuasar_events_queued") == 0)
        waiting["sent after containerd's start, ms"] = ms_since(begin)
        bench.clear(pods)
        return waiting
    return grow("events while containerd is away", steps, measure)


def wait_for(condition, seconds=60, step=0.005):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("it does not happen")
        time.sleep(step)


def task_metric(name):
    """A gauge of the task server's without labels."""
    page = subprocess.run(["curl", "-sS", "--unix-socket", "/run/kuasar-runc/task-metrics.sock", "http://localhost/metrics"],
                          capture_output=True, text=True, check=True).stdout
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(name + " "))


def wait_healthy(name="runc-sandboxer"):
    """grpc.health.v1.Health/Check with an empty request, on a connection of its own; retried until it answers."""
    socket = f"/run/{name}.sock"
    end = time.monotonic() + 30
    while True:
        if os.path.exists(socket):
            options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"unix://{socket}", options=options) as channel:
                call = channel.unary_unary("/grpc.health.v1.Health/Check", lambda m: b"", lambda b: b)
                try:
                    return call(None, timeout=1)
                except grpc.RpcError:
                    pass
        if time.monotonic() > end:
            raise RuntimeError(f"{name} does not answer")
        time.sleep(0.001)


class Daemon:
    """A sandboxer, started by us as by a service manager."""

    def __init__(self, name):
        self.name = name
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(f"/var/log/{self.name}.log", "ab"), start_new_session=True)

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()
