"""The measurements of WebAssembly pods. The peer is containerd's own shim with the engine's own command line as the container's
program: the same module, from the same image, compiled beforehand."""

import concurrent.futures
import functools
import pathlib
import random
import re
import shutil
import statistics
import sys
import tempfile
import time

import machine
import scenarios
from cri import EXITED, RUNNING, Kind
from scenarios import container_pid, grow, held, ms_since, results, turns, used, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

import wasm  # noqa: E402

IMAGE = "localhost/kuasar/modules:bench"
HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path("/var/cache/kuasar-wasm")
WASMTIME, WASMEDGE = "/opt/wasmtime-cli/bin/wasmtime", "/usr/bin/wasmedge"
IDLE = ("wait", "86400")  # of tool.c, which says first that it waits
DAEMONS = ("wasm-sandboxer", "wasm-task")
OURS = ("kuasar-wasmtime", "kuasar-wasmedge")

# How a module of the image is run: by us, who compile it at its first start, and by an engine's command line.
COMMANDS = {
    "kuasar-wasmtime": ("/{}.wasm",),
    "kuasar-wasmedge": ("/{}.wasm",),
    "wasmtime in runc": (WASMTIME, "run", "--allow-precompiled", "/{}.cwasm"),
    "wasmedge in runc": (WASMEDGE, "--run-mode", "aot", "/{}.so"),
}
# How it is run for the first time: WasmEdge's command line would interpret it.
FIRST = {handler: COMMANDS[handler] for handler in OURS} | {"wasmtime in runc": (WASMTIME, "run", "/{}.wasm")}


def command(handler, module, *args, how=COMMANDS):
    return (*(word.format(module) for word in how[handler]), *args)


def kind(handler):
    idle = command(handler, "tool", *IDLE)
    return Kind(handler, machine.OURS_WASM, IMAGE, idle) if handler in OURS else Kind("runc", machine.SHIM_WASM, IMAGE, idle)


HANDLERS = {handler: kind(handler) for handler in COMMANDS}

# ---- the image ----------------------------------------------------------------------------------

MIB = 1 << 20
FUNCTION = """
static uint32_t f{n}(uint32_t a, uint32_t b)
{{
    for (uint32_t i = {n} % 7; i < (b & 15); i++) {{
        if (a & {mask}u)
            a = a * {factor}u + (b >> {shift});
        else
            b ^= (a << {shift}) - i * {step}u;
        words[a & 1023] += b;
    }}
    return a + words[b & 1023] / ({divisor}u + (a & 7));
}}
"""


def large_source(functions=4000):
    """tool.c with so many functions beside it, each of them another, that the module has about 1 MiB. None of them runs."""
    rng = random.Random(1)
    yield "#include <stdint.h>\nstatic uint32_t words[1024];\n"
    for n in range(functions):
        yield FUNCTION.format(n=n, mask=1 << rng.randrange(32), factor=rng.randrange(3, 1 << 30, 2), shift=rng.randrange(1, 31),
                              step=rng.randrange(1, 1 << 20), divisor=rng.randrange(1, 1000))
    names = ", ".join(f"f{n}" for n in range(functions))
    yield f"__attribute__((used)) static uint32_t (*const functions[])(uint32_t, uint32_t) = {{{names}}};\n"
    yield f'#include "{wasm.HERE}/tool.c"\n'


def linked(program):
    """A program and the libraries that it is linked to: path in an image -> (bytes, mode, uid)."""
    libraries = wasm.run("ldd", program).stdout
    files = [program, *re.findall(r"(?:=> |^\s*)(/\S+) \(0x", libraries, re.MULTILINE)]
    return {name[1:]: (pathlib.Path(name).read_bytes(), 0o755, 0) for name in files}


@functools.cache
def load(bench):
    """Makes the image: modules, the same compiled by the command lines of the engines, and these. Then each engine of ours has
    compiled the module that waits."""
    files = {"etc/ld.so.cache": (pathlib.Path("/etc/ld.so.cache").read_bytes(), 0o644, 0)}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "large.c").write_text("".join(large_source()))
        for source in (wasm.HERE / "tool.c", folder / "large.c", HERE / "compute.c"):
            module, fast, shared = (folder / f"{source.stem}.{kind}" for kind in ("wasm", "cwasm", "so"))
            wasm.compile_c(source, module, "-O2")
            wasm.run(WASMTIME, "compile", "-o", fast, module, timeout=300)
            wasm.run(WASMEDGE, "compile", module, shared, timeout=600)
            files |= {path.name: (path.read_bytes(), 0o755, 0) for path in (module, fast, shared)}
        size = len(files["large.wasm"][0])
        if not 0.9 * MIB < size < 1.1 * MIB:
            raise RuntimeError(f"the module of about 1 MiB has {size} bytes")
        wasm.load_image(folder, IMAGE, files | linked(WASMTIME) | linked(WASMEDGE), {"Entrypoint": ["/tool.wasm"]})
    for handler in OURS:
        before = cached()
        pod = bench.running(handler)
        wait_for(lambda before=before: cached() - before)
        bench.clear([pod])


def versions():
    """Of the command lines; WasmEdge's does not know its own."""
    return {"wasmtime": wasm.run(WASMTIME, "--version").stdout.split()[1],
            "wasmedge": wasm.run("dpkg-query", "-W", "-f", "${Version}", "wasmedge").stdout}


# ---- starts -------------------------------------------------------------------------------------


def cached():
    """The files of compiled code in our cache."""
    return set(CACHE.glob("*/code"))


def output(pod):
    """Bytes in its containers' log."""
    return pod.log.stat().st_size if pod.log.exists() else 0


def say(pod, *command):
    """Starts a container of a running pod; milliseconds until its first output is in the log."""
    before = output(pod)
    begin = time.perf_counter()
    pod.create(*command).start()
    wait_for(lambda: output(pod) > before, step=0.0003)
    return ms_since(begin)


def outputs(bench, n):
    """From nothing until the module runs, which its first output shows: who starts a command line need not wait for its engine."""
    into = results()
    for handler in turns(n, HANDLERS):
        begin = time.perf_counter()
        pod = bench.pod(handler).run()
        say(pod)
        into["pod, container and first output"][handler].append(ms_since(begin))
        bench.clear([pod])
    return into


def tasks(bench, rounds, containers=40, workers=8):
    """Containers of one running pod started per second. They have been created before, which is containerd's own work: what is
    measured is CRI's StartContainer, a task created and started."""
    into = results()
    for handler in turns(rounds, HANDLERS):
        pod = bench.pod(handler).run()
        created = [pod.create().container for _ in range(containers)]
        begin = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(pod.start, created))
        into["containers of a pod started per second, 8 workers"][handler].append(containers / (time.perf_counter() - begin))
        bench.clear([pod])
    return into


def first_starts(bench, n):
    """Until a large module runs: when it must be compiled, and when it has been."""
    into = results()
    for handler in turns(n, HANDLERS):
        pod = bench.pod(handler).run()
        before = cached()
        if handler in FIRST:
            into["1 MiB module, first start"][handler].append(say(pod, *command(handler, "large", *IDLE, how=FIRST)))
        if handler in OURS:
            wait_for(lambda before=before: cached() - before)
        into["1 MiB module, compiled before"][handler].append(say(pod, *command(handler, "large", *IDLE)))
        for code in cached() - before:
            shutil.rmtree(code.parent)
        bench.clear([pod])
    return into


# ---- running ------------------------------------------------------------------------------------


def memory(bench, most, step):
    """Memory of everything that pods bring along, their containers included."""
    for handler, kind in HANDLERS.items():
        pod = bench.running(handler)
        if machine.comm(container_pid(pod)) not in kind.programs:
            raise RuntimeError(f"{handler}: the container's process is not counted")
        bench.clear([pod])
    return scenarios.memory(bench, most, step, HANDLERS, "memory over pods with their containers")


def compute(bench, rounds, work):
    """Speed of a module that computes, by its own clock; all must come to the same result."""
    into, sums = results(), set()
    for handler in turns(rounds, HANDLERS):
        pod = bench.running(handler, *command(handler, "compute", str(work)))
        wait_for(lambda pod=pod: pod.status().status.state == EXITED, step=0.05)
        nanoseconds, checksum = pod.log.read_text().split()[-2:]
        into["computing, rounds per second"][handler].append(work / int(nanoseconds) * 1e9)
        sums.add(checksum)
        bench.clear([pod])
    if len(sums) != 1:
        raise RuntimeError(f"the engines come to different results: {sums}")
    return into


def scale(bench, steps, n, handler="kuasar-wasmtime"):
    """What grows with running pods of one module."""
    pods = []

    def measure(step):
        pods.extend(bench.fill(handler, step - len(pods), 4))
        time.sleep(1)
        one = results()
        scenarios.starts(bench, handler, n, one, "start")
        return {"containers that run": sum(pod.status().status.state == RUNNING for pod in pods),
                "start, ms": statistics.median(one["start"][handler]),
                "memory of the workers, KiB (Pss)": machine.pss_of(("wasm-worker",))} | used(DAEMONS) | held(DAEMONS)
    into = grow("WebAssembly pods", steps, measure, handler)
    bench.clear(pods)
    return into
