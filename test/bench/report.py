#!/usr/bin/env python3
"""From raw.json: ratios with bootstrap intervals as a Markdown page, and plots.

    report.py RAW.json OUT-DIR
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "kuasar"
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

ROUNDS = 4000  # of the bootstrap
P50, P99 = 50, 99

# measure, ours, peer, percentile, which way is better, what must be reached, what would be fine. None: reported only.
RATIOS = [
    ("run pod", "kuasar-runc", "runc", P50, "<=", None, None),
    ("create container", "kuasar-runc", "runc", P50, "<=", None, None),
    ("start container", "kuasar-runc", "runc", P50, "<=", None, None),
    ("pod and container started", "kuasar-runc", "runc", P50, "<=", 0.50, 0.40),
    ("pod and container started", "kuasar-runc", "runc", P99, "<=", None, None),
    ("pod and container started", "kuasar-crun", "runc", P50, "<=", 0.35, 0.28),
    ("pod and container started", "kuasar-crun", "crun", P50, "<=", None, None),
    ("CPU of a start", "kuasar-runc", "runc", P50, "<=", 0.40, 0.30),
    ("CPU of a start", "kuasar-crun", "crun", P50, "<=", None, None),
    ("stopped and removed", "kuasar-runc", "runc", P50, "<=", 0.45, 0.35),
    ("stopped and removed", "kuasar-crun", "crun", P50, "<=", None, None),
    ("pods started per second, 8 workers", "kuasar-runc", "runc", P50, ">=", 2.3, 3.0),
    ("pods started per second, 8 workers", "kuasar-crun", "crun", P50, ">=", None, None),
    ("exec of true", "kuasar-runc", "runc", P50, "<=", 0.90, 0.70),
    ("exec of true", "kuasar-runc", "runc", P99, "<=", 1.0, None),
    ("exec of true", "kuasar-crun", "crun", P50, "<=", None, None),
    ("exit to EXITED", "kuasar-runc", "runc", P50, "<=", 0.75, 0.5),
    ("1 GiB through stdout, MiB/s", "kuasar-runc", "runc", P50, ">=", 1.0, None),
]
# The same of WebAssembly pods.
WASM_RATIOS = [
    (measure, f"kuasar-{engine}", f"{engine} in runc", p, way, bar, stretch)
    for measure, p, way, bar, stretch in [
        ("run pod", P50, "<=", None, None),
        ("create container", P50, "<=", None, None),
        ("start container", P50, "<=", None, None),
        ("pod and container started", P50, "<=", 0.35, 0.2),
        ("pod and container started", P99, "<=", None, None),
        ("pod, container and first output", P50, "<=", None, None),
        ("CPU of a start", P50, "<=", None, None),
        ("stopped and removed", P50, "<=", None, None),
        ("containers of a pod started per second, 8 workers", P50, ">=", 3.0, 6.0),
        ("1 MiB module, first start", P50, "<=", None, None),
        ("1 MiB module, compiled before", P50, "<=", None, None),
        ("computing, rounds per second", P50, ">=", 0.98, None),
    ]
    for engine in ("wasmtime", "wasmedge")
]
UNITS = {"containers of a pod started per second, 8 workers": "/s", "computing, rounds per second": "/s", "CPU of a start": "ms", "pods started per second, 8 workers": "/s", "1 GiB through stdout, MiB/s": "MiB/s"}


def boot(rng, a, b, statistic):
    """Bounds (95 %) of statistic(a) / statistic(b) when rounds are drawn again, both of a round together."""
    n = min(len(a), len(b))
    draws = rng.integers(0, n, (ROUNDS, n))
    ratios = statistic(a[:n][draws]) / statistic(b[:n][draws])
    return np.percentile(ratios, [2.5, 97.5])


def verdict(value, way, bar, stretch):
    if bar is None:
        return "", ""
    def good(limit):
        return value <= limit if way == "<=" else value >= limit
    mark = "reached" if good(bar) else "**missed**"
    if stretch is not None and good(stretch):
        mark = "reached, and the further aim"
    return f"{way} {bar:g}" + (f" ({stretch:g})" if stretch is not None else ""), mark


def ratio_rows(raw, rng, ratios):
    for measure, ours, peer, p, way, bar, stretch in ratios:
        values = raw["measures"].get(measure, {})
        if ours not in values or peer not in values:
            continue
        a, b = np.array(values[ours], float), np.array(values[peer], float)
        def statistic(x, p=p):
            return np.percentile(x, p, axis=-1)
        ratio = statistic(a) / statistic(b) if statistic(b) else float("nan")
        low, high = boot(rng, a, b, statistic) if len(a) > 1 else (ratio, ratio)
        unit = UNITS.get(measure, "ms")
        want, mark = verdict(ratio, way, bar, stretch)
        yield (f"{measure}, p{p}", f"{ours} / {peer}", f"{statistic(a):.4g} {unit}", f"{statistic(b):.4g} {unit}",
               f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", len(a), want, mark)


def slopes(points, draws):
    """Of the straight lines through these points, in each of the draws."""
    x, y = points[draws][..., 0], points[draws][..., 1]
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return (x * y).sum(-1) / (x * x).sum(-1)


def slope(points):
    points = np.array(points, float)
    return float(slopes(points, np.arange(len(points))))


def slope_row(rng, what, points, ours, peer, bar, stretch):
    a, b = np.array(points[ours], float), np.array(points[peer], float)
    ratio = slope(a) / slope(b)
    draws = rng.integers(0, len(a), (ROUNDS, len(a)))
    draws = draws[draws.min(-1) < draws.max(-1)]  # a line needs two points
    low, high = np.percentile(slopes(a, draws) / slopes(b, draws), [2.5, 97.5])
    want, mark = verdict(ratio, "<=", bar, stretch)
    return (f"{what} (Pss, slope)", f"{ours} / {peer}", f"{slope(a):.4g} KiB", f"{slope(b):.4g} KiB", f"{ratio:.4f}", f"{low:.4f} to {high:.4f}",
            len(a), want, mark)


def median_row(rng, name, values, handler, unit, bar, stretch):
    """A figure of ours alone."""
    values = np.array(values, float)
    value = float(np.median(values))
    low, high = np.percentile(np.median(values[rng.integers(0, len(values), (ROUNDS, len(values)))], axis=-1), [2.5, 97.5])
    want, mark = verdict(value, "<=", bar, stretch)
    return name, handler, f"{value:.4g} {unit}", "", "", f"{low:.4g} to {high:.4g} {unit}", len(values), f"{want} {unit}", mark


def daemons_row(m, handler, bar, stretch):
    base = m["memory of the daemons without a pod"][handler][0] / 1024
    want, mark = verdict(base, "<=", bar, stretch)
    return "memory of the daemons without a pod (Pss)", handler, f"{base:.2f} MiB", "", "", "", 1, f"{want} MiB", mark


def other_rows(raw, rng):
    """Figures that are no ratio of one measure of two handlers."""
    m = raw["measures"]
    if "memory over pods" in m:
        yield slope_row(rng, "memory per pod", m["memory over pods"], "kuasar-runc", "runc", 0.02, 0.005)
    yield daemons_row(m, "kuasar-runc", 6, 3)
    if "start beside 200 pods" in m:
        for h in ("kuasar-runc", "runc"):
            many, few = (np.array(m[f"start beside {n}"][h], float) for n in ("200 pods", "1 pod"))
            ratio = np.median(many) / np.median(few)
            low, high = boot(rng, many, few, lambda x: np.median(x, axis=-1))
            want, mark = verdict(ratio, "<=", 1.10, 1.03) if h == "kuasar-runc" else ("", "")
            yield ("start beside 200 pods / beside 1, p50", h, f"{np.median(many):.4g} ms", f"{np.median(few):.4g} ms", f"{ratio:.3f}", f"{low:.3f} to {high:.3f}",
                   len(few), want, mark)
    for name, bar in (("context switches per second, 20 pods", 0), ("context switches per second to wait, 20 pods", None)):
        if name in m:
            ours, stock = (np.array(m[name][h], float) for h in ("kuasar-runc", "runc"))
            low, high = boot(rng, ours, stock, lambda x: np.median(x, axis=-1))
            want, mark = verdict(np.median(ours), "<=", bar, None)
            yield (name, "kuasar-runc / runc", f"{np.median(ours):.4g} /s", f"{np.median(stock):.4g} /s", f"{np.median(ours) / np.median(stock):.4f}",
                   f"{low:.4f} to {high:.4f}", len(ours), want, mark)
    name = "killed sandboxer answers again, 200 pods"
    if name in m:
        yield median_row(rng, name, m[name]["kuasar-runc"], "kuasar-runc", "ms", 500, 100)


def other_wasm_rows(raw, rng):
    m = raw["measures"]
    first, later = (m.get(f"1 MiB module, {name}", {}) for name in ("first start", "compiled before"))
    for h in filter(later.get, first):
        a, b = np.median(first[h]), np.median(later[h])
        yield "1 MiB module, first start / compiled before, p50", h, f"{a:.4g} ms", f"{b:.4g} ms", f"{a / b:.3g}", "", len(first[h]), "", ""
    name = "memory over pods with their containers"
    for engine in ("wasmtime", "wasmedge") if name in m else ():
        yield slope_row(rng, "memory per pod with its container", m[name], f"kuasar-{engine}", f"{engine} in runc", 0.25, 0.1)
    name = "WebAssembly pods: containers that run"
    if name in m:
        for handler, points in m[name].items():
            most = max(running for pods, running in points if running == pods)
            want, mark = verdict(most, ">=", 500, 1000)
            yield "idle pods that run", handler, most, "", "", "", "", want, mark


def table(rows):
    yield "| what | of | ours | peer | ratio | 95 % | rounds | aim (further) | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


def pictures(*names):
    for name in names:
        yield f"![{PLOTS[name][1]}]({name}.svg)\n"


def page(raw):
    rng = np.random.default_rng(1)
    machine, versions = raw["machine"], raw["versions"]
    yield "# Measured against containerd's own shim\n"
    yield ("Made by `make bench`: one containerd, the handlers in turn in one run, the same images, the same client. `runc` and `crun` are containerd's own shim "
           "with a pause container and that OCI runtime, `kuasar-runc` and `kuasar-crun` are ours with it. Times are as the CRI client sees them; pods use the host's network.\n")
    yield (f"Machine: {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, cgroup {machine['cgroups']}. "
           f"containerd {versions['containerd']}, runc {versions['runc']}, crun {versions['crun']}, kuasar {versions['kuasar']}."
           + (" A quick run: too few rounds for conclusions." if raw["quick"] else "") + "\n")
    yield from table([*ratio_rows(raw, rng, RATIOS), *other_rows(raw, rng)])
    yield "The raw figures are in [raw.json](raw.json). CPU: processor time of everything on the node but containerd and the client. Memory: Pss of all processes but "
    yield "containerd's, the client's and the containers' own. containerd 2.3 asks for every running container's statistics once a second; the context switches contain the answers: "
    yield "those to wait have nothing left to do, the others are the kernel's, which runs whom an answer woke first. "
    yield "Execs come one by one, with a pause of 50 ms between them, as probes do.\n"
    yield from pictures("start", "memory", "parallel")
    rows = [*ratio_rows(raw, rng, WASM_RATIOS), *other_wasm_rows(raw, rng)]
    if rows:
        yield from wasm_page(rows, versions)


def wasm_page(rows, versions):
    yield "# WebAssembly pods, against an engine's own command line in a container\n"
    yield (f"`kuasar-wasmtime` and `kuasar-wasmedge` are our handlers; `wasmtime in runc` and `wasmedge in runc` are a container of containerd's handler `runc` (a shim, a pause container) "
           f"that runs the engine's command line. Both run the same module from the same image. Wasmtime's command line {versions['wasmtime']} is built from its crate, with what runs and "
           f"compiles modules and nothing else; WasmEdge's {versions['wasmedge']} is Debian's. What these run was compiled beforehand, into the image (`wasmtime compile`, `wasmedge compile` "
           f"to a shared library); our code comes from the node's cache, where the first start of a module leaves it.\n")
    yield from table(rows)
    yield "CRI says that a container has started when its process runs: one of ours has its module loaded and linked by then, a command line begins to look for it. What a module says first is "
    yield "the same for both. For the first start of the module of 1 MiB Wasmtime's command line gets the module itself and compiles it (on all processors; a worker of ours compiles on one); these "
    yield "times, compiled before or not, are of a container in a running pod until its first output. Memory: Pss of all processes but containerd's and the client's, the containers' own included. "
    yield "What computes is a program of lists, matrices, a state machine and checksums (`test/bench/compute.c`), by its own clock.\n"
    yield from pictures("start-wasm", "memory-wasm")


# What is counted, each with a table of what grows with it.
GROWING = ("pods", "containers of a pod", "execs of a container", "events while containerd is away", "WebAssembly pods")


def scale_page(raw):
    """What grows. The exponent is that of value ~ n^e over the last steps, from 100 on: there the constant part hides less of it."""
    for what in GROWING:
        measures = {name.removeprefix(f"{what}: "): np.array(next(iter(m.values())), float)
                    for name, m in raw["measures"].items() if name.startswith(f"{what}: ")}
        if not measures:
            continue
        steps = next(iter(measures.values()))[:, 0]
        yield f"| {what} | " + " | ".join(f"{n:.0f}" for n in steps) + " | one more | exponent |"
        yield "|---" * (len(steps) + 3) + "|"
        for name, points in measures.items():
            tail = points[points[:, 0] >= min(100, points[-2, 0])]
            tail = tail[tail[:, 1] > 0]
            exponent = np.polyfit(np.log(tail[:, 0]), np.log(tail[:, 1]), 1)[0] if len(tail) > 1 else float("nan")
            yield f"| {name} | " + " | ".join(f"{v:.4g}" for v in points[:, 1]) + f" | {slope(points):.3g} | {exponent:.2f} |"
        yield ""


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_starts(axes, values):
    for handler, times in values.items():
        times = np.sort(times)
        axes.plot(times, np.arange(1, len(times) + 1) / len(times), label=handler)
    axes.set(xlabel="ms until the container runs", ylabel="share of starts", xlim=(0, None))
    axes.legend()


def plot_memory(axes, values):
    for handler, points in values.items():
        points = np.array(points, float)
        axes.plot(points[:, 0], points[:, 1] / 1024, marker=".", label=handler)
    axes.set(xlabel="running pods", ylabel="MiB (Pss)", ylim=(0, None))
    axes.legend()


def plot_rates(axes, values):
    axes.boxplot(list(values.values()))
    axes.set_xticklabels(list(values))
    axes.set(ylabel="pods per second", ylim=(0, None))


NATIVE = ("runc", "crun", "kuasar-runc", "kuasar-crun")
WASM = ("wasmtime in runc", "wasmedge in runc", "kuasar-wasmtime", "kuasar-wasmedge")
# name of the file -> how, title, measure, of whom
PLOTS = {
    "start": (plot_starts, "Start of a pod with one container", "pod and container started", NATIVE),
    "memory": (plot_memory, "Memory of the runtime's processes", "memory over pods", NATIVE),
    "parallel": (plot_rates, "30 pods started by 8 workers", "pods started per second, 8 workers", NATIVE),
    "start-wasm": (plot_starts, "Start of a pod with one module", "pod and container started", WASM),
    "memory-wasm": (plot_memory, "Memory of pods with one module", "memory over pods with their containers", WASM),
}


def draw(raw, out):
    for name, (plot, title, measure, handlers) in PLOTS.items():
        values = {h: v for h, v in raw["measures"].get(measure, {}).items() if h in handlers}
        if values:
            figure, axes = plt.subplots(figsize=(7, 4))
            axes.set(title=title)
            plot(axes, values)
            save(figure, out / f"{name}.svg")


def main():
    raw = json.loads(pathlib.Path(sys.argv[1]).read_text())
    out = pathlib.Path(sys.argv[2])
    (out / "README.md").write_text("\n".join(page(raw)))
    draw(raw, out)
    if any(name.startswith(f"{what}: ") for what in GROWING for name in raw["measures"]):
        (out / "scale.md").write_text("\n".join(scale_page(raw)) + "\n")
        print((out / "scale.md").read_text())
    print((out / "README.md").read_text())


if __name__ == "__main__":
    main()
