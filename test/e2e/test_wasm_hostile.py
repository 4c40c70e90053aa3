"""Modules that are none, that lie, and that are more than an engine can take: a worker may refuse them or break, the
daemons may not. Most are given to a worker as the task server does it, some by containers of a living node."""

import os
import random

import pytest

import node as kuasar
import wasm
from node import Failed, until
from test_wasm import CACHE, TOOL, limited, outcome, run
from wasm import binary
from wasm.worker import ENTRY, Bundle, keep
from wire import EXHAUSTED, INVALID, INTERNAL, PRECONDITION, UNIMPLEMENTED

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("image")

ASAN = os.environ.get("KUASAR_PRESET") == "asan"
# How many mutants of modules an engine gets; more make this a fuzzer.
MUTANTS = {engine: int(os.environ.get("KUASAR_MUTANTS", n // (4 if ASAN else 1))) for engine, n in (("wasmtime", 1000), ("wasmedge", 300))}
# The same in every run, so that it fails for what has changed; others come from another seed.
SEED = int(os.environ.get("KUASAR_MUTANTS_SEED", "1"))
MEMORY = 256 << 20
REFUSED = (INVALID, PRECONDITION, UNIMPLEMENTED)


@pytest.fixture(scope="module")
def group(the_node):
    """A cgroup for all workers; whatever becomes of them, nothing is left."""
    before = kuasar.census()
    yield f"/hostile-{os.getpid()}"
    kuasar.Cgroup(f"/hostile-{os.getpid()}").remove()
    kuasar.nothing_left(before)


@pytest.fixture
def bundle(tmp_path, group):
    """One whose container has little memory."""
    return Bundle(tmp_path, cgroupsPath=group, resources={"memory": {"limit": MEMORY}, "pids": {"limit": 64}})


def died(answer, what=""):
    """A worker that has not said whether it is ready: it was killed, and did not end by itself."""
    if answer.status is None:
        assert answer.exit < 0 and not answer.late, what or answer
    return answer.status is None


# ---- workers ------------------------------------------------------------------------------------


def test_a_worker_as_the_tests_use_it(bundle, engine):
    """Else nothing that follows would say anything."""
    answer = bundle.work(engine, binary.program(7), go=True)
    assert (answer.status, answer.exit, answer.cached) == (0, 7, False), answer
    assert answer.name.startswith(f"{engine}-") and answer.code
    keep(bundle, answer)
    answer = bundle.work(engine, binary.program(7), go=True)
    assert (answer.status, answer.exit, answer.cached, answer.code) == (0, 7, True, b""), answer
    assert bundle.work(engine, binary.program(7)).exit == 125  # nobody has said go


@pytest.mark.parametrize("what", binary.MALFORMED)
def test_what_is_no_module_is_refused(bundle, engine, what):
    answer = bundle.work(engine, binary.MALFORMED[what])
    assert answer.status in REFUSED and f"/{ENTRY}" in answer.text and answer.exit == 125, answer
    assert not answer.code and not answer.output


@pytest.mark.parametrize("what", binary.HEAVY)
def test_what_is_too_much_for_a_compiler(bundle, engine, what):
    answer = bundle.work(engine, binary.HEAVY[what]())
    if not died(answer) and answer.status != 0:
        assert f"/{ENTRY}" in answer.text, answer


def bases(engine, tool):
    """What mutants are made of."""
    yield from [binary.program(3)] * 4
    if engine == "wasmtime":
        yield from (wasm.compile_wat(wasm.HERE / f"{name}.wat") for name in ("library", "socket", "tool"))
    yield tool.read_bytes()[:4096]  # its end is missing, and the rest of it is a compiler's


def test_mutants(bundle, engine, image):
    """The worker always says something that can be understood, or was killed; most mutants are nothing that runs. (None is
    run, and what compiles has so much memory and so many seconds.)"""
    print(f"KUASAR_MUTANTS_SEED={SEED}")  # shown whatever it is that fails
    rng = random.Random(SEED)
    of = list(bases(engine, image))
    counts = {"ready": 0, "refused": 0, "killed": 0}
    for n in range(MUTANTS[engine]):
        module = binary.mutant(rng, of[n % len(of)])
        answer = bundle.work(engine, module)
        what = f"seed {SEED}, mutant {n}: {module[:256].hex()}: {answer}"
        if died(answer, what):
            counts["killed"] += 1
        elif answer.status == 0:
            assert answer.code or engine == "wasmedge", what
            counts["ready"] += 1
        else:
            assert answer.status in (*REFUSED, INTERNAL, EXHAUSTED) and f"/{ENTRY}" in answer.text and answer.exit == 125, what
            # A compiler in a process of its own: that one was killed.
            counts["killed" if answer.status == EXHAUSTED else "refused"] += 1
    print(counts)
    # Some three of a hundred are ready; what is said of few of them would not always be so.
    assert counts["refused"] > MUTANTS[engine] / 2 or MUTANTS[engine] < 50, f"seed {SEED}: {counts}"
    assert counts["ready"] or MUTANTS[engine] < 1000, f"seed {SEED}: {counts}"
    assert bundle.work(engine, binary.program(5), go=True).exit == 5


@pytest.mark.parametrize("files", [0, 1, 3, 4, 5, 6, 8, 12, 16, 32])
def test_few_descriptors(bundle, engine, files):
    """As many as a container's limit allows: it runs, or it is said why not, to the task server or as the container's output."""
    bundle.spec(process={"rlimits": [{"type": "RLIMIT_NOFILE", "soft": files, "hard": files}]})
    answer = bundle.work(engine, binary.program(3), go=True)
    if answer.status == 0:
        assert answer.exit == 3 or answer.exit > 125 and answer.output, answer
    else:
        assert answer.status is not None and answer.text and answer.exit == 125, answer
    assert answer.exit == 3 or files < 32, answer


def test_a_module_that_opens_all_that_it_can(bundle, engine, image):
    bundle.spec(process={"args": [f"/{ENTRY}", "open", f"/{ENTRY}"], "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]})
    answer = bundle.work(engine, image.read_bytes(), go=True)
    assert answer.exit == 1 and 16 < int(answer.output.split()[0]) < 64, answer


# ---- the cache ----------------------------------------------------------------------------------


def forge_link(file):
    file.rename(file.parent.parent / "aside")
    os.link(file.parent.parent / "aside", file)


def forge_symlink(file):
    file.rename(file.parent.parent / "aside")
    file.symlink_to("../aside")


def forge_directory_symlink(file):
    file.parent.rename(file.parent.parent / "aside")
    file.parent.symlink_to("aside")


FORGED = {
    "owner": lambda file: os.chown(file, 1000, 0),
    "mode": lambda file: file.chmod(0o646),
    "group": lambda file: file.chmod(0o664),
    "directory-owner": lambda file: os.chown(file.parent, 1000, 0),
    "directory-mode": lambda file: file.parent.chmod(0o777),
    "cache-owner": lambda file: os.chown(file.parent.parent, 1000, 0),
    "cache-mode": lambda file: file.parent.parent.chmod(0o755),
    "hard-link": forge_link,
    "symlink": forge_symlink,
    "directory-symlink": forge_directory_symlink,
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_entry_is_not_run(bundle, engine, how):
    """The code of another module under a module's name: root alone may do that."""
    mine, other = (bundle.work(engine, binary.program(code)) for code in (3, 4))
    file = keep(bundle, mine, other.code)
    answer = bundle.work(engine, binary.program(3), go=True)
    assert (answer.cached, answer.exit) == (True, 4), "it is used as it is"
    FORGED[how](file)
    answer = bundle.work(engine, binary.program(3), go=True)
    assert (answer.status, answer.cached, answer.exit) == (0, False, 3), answer
    assert answer.code, "it was compiled"


@pytest.mark.parametrize("damage", ["empty", "cut", "start", "middle", "end", "random", "of-the-other-engine"])
def test_a_damaged_entry_runs_nothing_else(bundle, engine, damage):
    """It is compiled again, or interpreted, or refused, as code that is damaged; a worker may break over it."""
    made = bundle.work(engine, binary.program(3))
    code = bytearray(made.code)
    half = len(code) // 2
    if damage == "empty":
        code = b""
    elif damage == "cut":
        del code[half:]
    elif damage == "random":
        code = random.Random(3).randbytes(len(code))
    elif damage == "of-the-other-engine":
        code = b"\x7fELF" + code if engine == "wasmedge" else binary.program(4)
    else:
        at = {"start": 0, "middle": half, "end": len(code) - 16}[damage]
        code[at:at + 16] = b"\xff" * 16
    keep(bundle, made, bytes(code))
    answer = bundle.work(engine, binary.program(3), go=True)
    assert answer.cached
    if not died(answer) and answer.status == 0 and damage not in ("middle", "end"):
        assert answer.exit == 3, answer
    assert bundle.work(engine, binary.program(5), go=True).exit == 5


# ---- containers ---------------------------------------------------------------------------------


def test_the_daemons_live_through_all_of_it(node, engine, tmp_path):
    """In one pod, as containers and as execs: each is refused with its name, the others do not notice."""
    heavy = {what: make() for what, make in binary.HEAVY.items() if not (ASAN and engine == "wasmedge")}
    malformed = dict(list(binary.MALFORMED.items())[::3])
    for what, module in (malformed | heavy).items():
        (tmp_path / f"{what}.wasm").write_bytes(module)
    mounts = {"mounts": [{"host_path": str(tmp_path), "container_path": "/volume"}]}
    fields = mounts | limited(memory_limit_in_bytes=MEMORY)
    pod = node.pod(f"kuasar-{engine}")
    bystander = run(pod, TOOL, "wait", "600", **mounts)
    bystander_pid = bystander.pid()
    pids = node.daemon_pids()
    fds = {name: kuasar.open_fds(pid) for name, pid in pids.items()}
    kept = {path.parent.name for path in CACHE.glob("*/code")}
    for what in malformed:
        with pytest.raises(Failed) as failure:
            run(pod, f"/volume/{what}.wasm", **fields)
        assert f"{what}.wasm" in failure.value.err, failure.value.err
    assert {path.parent.name for path in CACHE.glob("*/code")} == kept, "nothing is kept of them"
    for what in list(malformed)[::2]:
        with pytest.raises(Failed):
            bystander.exec(f"/volume/{what}.wasm")
    for what in heavy:
        try:
            run(pod, f"/volume/{what}.wasm", **fields)
        except Failed as failure:
            assert "code = " in failure.err, failure.err
    assert node.daemon_pids() == pids
    assert bystander.pid() == bystander_pid and bystander.exec(TOOL, "exit", "0").returncode == 0
    assert outcome(pod, TOOL, "exit", "3")[0] == 3
    bystander.stop(grace=0)
    pod.remove()
    until(lambda: all(kuasar.open_fds(pid) <= fds[name] for name, pid in pids.items()), f"descriptors as before: {fds}")
