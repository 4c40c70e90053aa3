"""What a measurement looks at: processes, their memory and processor time, context switches."""

import os
import pathlib
import time

PROC = pathlib.Path("/proc")
CPUACCT = pathlib.Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")  # cgroup v1: of the whole node
CPUSTAT = pathlib.Path("/sys/fs/cgroup/cpu.stat")  # v2


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def comm(pid):
    return read(f"/proc/{pid}/comm").strip()


def pids():
    return [int(e.name) for e in PROC.iterdir() if e.name.isdigit()]


def pids_of(*names):
    """Pids of the programs with these names (names of executables, as far as comm keeps them)."""
    short = {name[:15] for name in names}
    return [pid for pid in pids() if comm(pid) in short]


# The processes that a kind of runtime has on the node beside containerd and the containers' own processes.
SHIM = ("containerd-shim-runc-v2", "pause", "runc", "crun")
OURS = ("runc-sandboxer", "runc-task", "pod-init", "runc", "crun")
# The same where containers are WebAssembly modules, and with the processes that run them: what engines need belongs to the kind.
SHIM_WASM = (*SHIM, "wasmtime", "wasmedge")
OURS_WASM = ("wasm-sandboxer", "wasm-task", "pod-init", "wasm-worker")


def pss_kib(pid):
    """Proportional set size; 0 if the process has ended."""
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def pss_of(names):
    return sum(pss_kib(pid) for pid in pids_of(*names))


def threads(pid):
    """The folders of a process's threads; none if it has ended."""
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def switches_of(names):
    """Context switches so far, of all threads of the processes that there are: all, and those of a thread that had to wait."""
    total = waits = 0
    for pid in pids_of(*names):
        for task in threads(pid):
            for line in read(task / "status").splitlines():
                if "ctxt_switches" in line:
                    count = int(line.split()[1])
                    total += count
                    waits += count if line.startswith("voluntary") else 0
    return total, waits


def node_cpu_ns():
    """Processor time of everything on the node, ended processes included."""
    text = read(CPUACCT)
    if text:
        return int(text)
    return int(dict(line.split() for line in read(CPUSTAT).splitlines())["usage_usec"]) * 1000


def process_cpu_ns(pid):
    """Processor time of a living process's living threads."""
    return sum(int((read(task / "schedstat").split() or ["0"])[0]) for task in threads(pid))


class RuntimeCpu:
    """Processor time of the runtime's side: the node's, less containerd's and our own."""

    def __init__(self, containerd):
        self.containerd = containerd

    def now(self):
        return node_cpu_ns() - process_cpu_ns(self.containerd) - time.process_time_ns()


def describe():
    """What a reader must know of the machine; no names of it."""
    cpu = next((line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "?")
    memory = next((int(line.split()[1]) for line in read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), 0)
    return {"processor": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory / 2**20, 1), "kernel": os.uname().release,
            "cgroups": "v1" if CPUACCT.exists() else "v2"}
