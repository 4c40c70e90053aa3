"""What every engine has to do alike: pods whose handler names one of them. (What containers do is test_wasm's.)"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import time

import pytest

import node as kuasar
import wasm
from node import Failed, crictl, exit_code, run as run_program, until
from test_wasm import CACHE, TOOL, create, limited, no_swap, outcome, refusal, run
from wasm.binary import long_module, program
from wasm.worker import Bundle, Worker

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("image")


@pytest.fixture
def pod(node, engine):
    return node.pod(f"kuasar-{engine}")


def kept(engine):
    """Files with compiled code."""
    return list(CACHE.glob(f"{engine}-*/code"))


def forget(engine):
    for entry in CACHE.glob(f"{engine}-*"):
        shutil.rmtree(entry)


def test_the_annotation_of_a_pod_chooses(node, engine):
    pod = node.pod("kuasar-wasm", annotations={"io.kuasar.wasm.engine": engine})
    container = pod.create(TOOL, "wait", "600", image=wasm.IMAGE).start()
    maps = pathlib.Path(f"/proc/{container.pid()}/maps").read_text()
    assert f"engine-{engine}.so" in maps


def test_an_annotation_that_names_no_engine(node):
    pod = node.pod("kuasar-wasm", annotations={"io.kuasar.wasm.engine": "wasmer"})
    with pytest.raises(Failed, match="io.kuasar.wasm.engine .*wasmer.*: want wasmtime or wasmedge"):
        run(pod, TOOL, "exit", "0")


def test_an_engine_that_is_not_installed(node, tmp_path):
    """Its pods are told which are."""
    pods = {engine: node.pod(f"kuasar-{wasm.there(engine)}") for engine in ("wasmtime", "wasmedge")}
    files = {engine: LEAN.with_name(f"engine-{engine}.so") for engine in pods}
    try:
        for engine, says in (("wasmedge", "wasmtime"), ("wasmtime", "there is none")):
            shutil.move(files[engine], tmp_path / engine)
            message = refusal(create(pods[engine], TOOL, "exit", "0"))
            assert f"engine {engine} is not installed" in message and f"choose another ({says})" in message
    finally:
        for engine, file in files.items():
            if not file.exists():
                shutil.move(tmp_path / engine, file)
    assert outcome(pods["wasmedge"], TOOL, "exit", "3")[0] == 3


def test_kuasar_ctl_knows_the_kind_and_its_engines(node, engine):
    pod = node.pod(f"kuasar-{engine}")
    container = run(pod, TOOL, "wait", "600")
    found = {e["id"]: e for e in json.loads(run_program("kuasar-ctl", "list", "--json").stdout)["entries"]}
    assert {found[pod.id]["kind"], found[container.id]["kind"]} == {"wasm"}
    assert found[container.id]["pid"] == container.pid()
    assert re.search(rf"engine.engine +{engine}\n", run_program("kuasar-ctl", "show", container.id).stdout)
    said = json.loads(run_program("kuasar-ctl", "doctor", "--json", check=False).stdout)["findings"]
    assert any(f"wasm-worker has {engine} " in f["text"] for f in said), said


@pytest.mark.parametrize("code", [0, 1, 3, 42, 126, 255])
def test_exit_codes_and_both_outputs(pod, code):
    container = run(pod, TOOL, "exit", str(code))
    assert container.wait_exit() == code
    streams = {line.split(" ", 3)[1]: line.split(" ", 3)[3] for line in container.log.read_text().splitlines()}
    assert streams == {"stdout": "to stdout", "stderr": "to stderr"}


@pytest.mark.parametrize("kind, code, text", [
    ("unreachable", 128 + 4, "unreachable"),
    ("divide", 128 + 8, "divide by zero"),
    ("memory", 128 + 11, "out of bounds"),
    ("stack", 128 + 11, "call stack exhausted"),
])
def test_traps_are_signals_with_a_text(pod, kind, code, text):
    container = run(pod, TOOL, "trap", kind)
    assert container.wait_exit() == code, container.logs()
    result = crictl("logs", container.id)
    assert "about to trap" in result.stdout and text in result.stderr


def test_arguments_environment_and_directory(pod):
    code, text = outcome(pod, TOOL, "show", "two words", "", "ünïcode", envs=[{"key": "MINE", "value": "a=b"}], working_dir="/data")
    assert code == 0
    lines = text.splitlines()
    assert [x for x in lines if x.startswith("arg ")] == ["arg show", "arg two words", "arg ", "arg ünïcode"]
    assert {"env MINE=a=b", "env FROM=image", "env PATH=/bin", "env PWD=/data", "cwd /"} <= set(lines)


def test_the_directory_is_told_by_the_environment(pod):
    """What a C library that has directories of its own, or another language's, begins with."""
    assert outcome(pod, TOOL, "read-here", "file", working_dir="/data") == (0, "from the image\n")
    assert outcome(pod, TOOL, "read-here", "file", working_dir="/", envs=[{"key": "PWD", "value": "/data"}]) == (0, "from the image\n")
    assert "env PWD" not in outcome(pod, TOOL, "show")[1]


def test_the_entry_is_found_from_its_directory(pod):
    assert outcome(pod, "../tool.wasm", "exit", "5", working_dir="/data")[0] == 5


def test_files_and_a_mount_that_is_read_only(pod, tmp_path):
    (tmp_path / "given").write_text("by the host\n")
    volume = {"host_path": str(tmp_path), "container_path": "/volume"}
    assert outcome(pod, TOOL, "read", "/data/file") == (0, "from the image\n")
    assert outcome(pod, TOOL, "read", "/volume/given", mounts=[volume]) == (0, "by the host\n")
    assert outcome(pod, TOOL, "write", "/volume/made", "made", mounts=[volume])[0] == 0
    assert (tmp_path / "made").read_text() == "made"
    assert outcome(pod, TOOL, "write", "/volume/no", "no", mounts=[volume | {"readonly": True}])[0] == 1
    assert not (tmp_path / "no").exists()
    code, text = outcome(pod, TOOL, "list", "/volume", mounts=[volume])
    assert code == 0 and {"given", "made"} <= set(text.split())


def test_nothing_of_the_host_is_seen(pod, tmp_path):
    """Not by "..", nor by links of the image or of a volume: they mean what they mean in the container."""
    (tmp_path / "outside").write_text("of the host\n")
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "inside").write_text("of the volume\n")
    far = "../" * 32 + str(tmp_path)[1:]
    links = {"good": "inside", "up": "../outside", "far": f"{far}/outside", "absolute": tmp_path / "outside", "directory": tmp_path,
             "up-directory": "..", "root": "/", "chain": "up"}
    for name, target in links.items():
        (volume / name).symlink_to(target)
    container = run(pod, TOOL, "wait", "600", mounts=[{"host_path": str(volume), "container_path": "/volume"}])
    assert container.exec(TOOL, "read", "/volume/good").stdout == "of the volume\n"
    for path in (f"/{far}/outside", f"/volume/{far}/outside", f"/volume/../../..{tmp_path}/outside", "/volume/../outside", "/volume/up",
                 "/volume/far", "/volume/absolute", "/volume/directory/outside", "/volume/up-directory/outside",
                 f"/volume/root{tmp_path}/outside", "/volume/chain", "/data/outside", f"/proc/1/root{tmp_path}/outside",
                 f"/proc/self/root{tmp_path}/outside", f"/dev/fd/3{tmp_path}/outside"):
        assert exit_code(container.exec(TOOL, "read", path, check=False)) == 1, path
    for name in ("up", "far", "absolute", "chain"):
        container.exec(TOOL, "write", f"/volume/{name}", "by a module", check=False)
    assert (tmp_path / "outside").read_text() == "of the host\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "volume"]


def test_a_user_and_a_root_that_is_read_only(pod, engine):
    """With nothing in the cache: the compiler has to do with that, too."""
    forget(engine)
    fields = {"linux": {"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}, "readonly_rootfs": True}}}
    assert outcome(pod, TOOL, "exit", "3", **fields)[0] == 3
    until(lambda: kept(engine), "it is kept")
    assert outcome(pod, TOOL, "write", "/data/new", "x", **fields)[0] == 1


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("what", [["wait", "600"], ["spin"]])
def test_ends_by_term_within_the_grace_time(pod, engine, what, cached):
    if not cached:
        forget(engine)
    container = run(pod, TOOL, *what)
    until(lambda: container.logs(), "it runs")
    begin = time.monotonic()
    container.stop(grace=30)
    assert time.monotonic() - begin < 20  # it did not take KILL
    assert container.status()["exitCode"] == 128 + 15


def fetched(url):
    return run_program("busybox", "wget", "-q", "-T", "5", "-O", "-", url, check=False).stdout


def test_a_web_server_by_the_sockets_of_wasmedge(node):
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    server = run(pod, "/server.wasm", "serve", "8080")
    until(lambda: "listening" in server.logs(), "it listens")
    address = pod.ip()
    for n in range(3):
        assert fetched(f"http://{address}:8080/{n}") == f"hello from a module (GET /{n} HTTP/1.1)\n"
    side = pod.run("sleep", "600")
    assert side.exec("wget", "-qO-", "http://127.0.0.1:8080/side").stdout == "hello from a module (GET /side HTTP/1.1)\n"
    assert outcome(pod, "/server.wasm", "fetch", "8080")[1].endswith("\n\nhello from a module (GET / HTTP/1.0)\n")
    server.stop(grace=30)
    assert server.status()["exitCode"] == 128 + 15
    assert not fetched(f"http://{address}:8080/")


def test_a_port_below_1024_if_the_pod_allows_it(node):
    user = {"linux": {"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}}}}
    handler = f"kuasar-{wasm.there('wasmedge')}"
    pod = node.pod(handler)
    server = run(pod, "/server.wasm", "serve", "80", **user)
    until(lambda: "listening" in server.logs(), "it listens")
    assert fetched(f"http://{pod.ip()}/").startswith("hello from a module")
    strict = node.pod(handler, linux={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "81"}})
    assert outcome(strict, "/server.wasm", "serve", "80", **user)[0] == 1


def test_wasmedge_opens_no_sockets_but_those_of_ip(node):
    """To the node's programs lead sockets in volumes."""
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    inet4, inet6, unix, datagram, stream = "1", "2", "3", "1", "2"
    for family, type_, good in [(inet4, stream, True), (inet6, datagram, True), (unix, stream, False), (unix, datagram, False), ("0", stream, False)]:
        code, text = outcome(pod, "/server.wasm", "open", family, type_)
        assert code == 0 and (text == "0\n") == good, (family, type_, text)


def test_wasmtime_has_no_such_sockets_and_says_so(node):
    with pytest.raises(Failed, match="sock_open"):
        run(node.pod(f"kuasar-{wasm.there('wasmtime')}"), "/server.wasm", "serve", "8080")


def test_exec_of_a_module(pod):
    container = run(pod, TOOL, "wait", "600")
    assert container.exec(TOOL, "read", "/data/file").stdout == "from the image\n"
    result = container.exec(TOOL, "exit", "9", check=False)
    assert exit_code(result) == 9 and "to stderr" in result.stderr
    assert exit_code(container.exec(TOOL, "trap", "divide", check=False)) == 128 + 8
    assert container.state() == "CONTAINER_RUNNING"


@pytest.mark.parametrize("cached", [False, True])
def test_memory_that_a_module_cannot_have(pod, engine, cached):
    """grow fails in the module, which may do something about it; nothing is killed, whatever the compiler took."""
    if not cached and os.environ.get("KUASAR_PRESET") == "asan":
        pytest.skip("the sanitizer keeps what the compiler took")
    forget(engine)
    if cached:
        outcome(pod, TOOL, "exit", "0")
        until(lambda: kept(engine), "it is kept")
    code, text = outcome(pod, TOOL, "grow", "512", **limited(memory_limit_in_bytes=128 << 20))
    assert code == 7, text
    assert 40 < int(text.split()[0]) < 128


def ready_to_grow(pod, engine, directory, mib, limit):
    """A container that takes so much memory when there is a file `now` in the directory; of the compiler nothing is in its cgroup."""
    outcome(pod, TOOL, "exit", "0")
    until(lambda: kept(engine), "it is kept")
    volume = {"host_path": str(directory), "container_path": "/volume"}
    container = run(pod, TOOL, "grow-when", "/volume/now", str(mib), mounts=[volume], **limited(memory_limit_in_bytes=limit))
    until(container.logs, "it runs")
    return container


def test_more_memory_than_at_its_start_is_for_what_starts_later(pod, engine, tmp_path):
    """The engine's own limit stays when the cgroup's is raised."""
    container = ready_to_grow(pod, engine, tmp_path, 256, 128 << 20)
    crictl("update", "--memory", 512 << 20, container.id)
    assert container.cgroup().memory_limit() == 512 << 20
    assert container.exec(TOOL, "grow", "256").stdout == "256 MiB\n"
    (tmp_path / "now").touch()
    assert container.wait_exit() == 7, container.logs()
    assert 40 < int(container.logs().split()[1]) < 128


@no_swap
def test_less_memory_than_at_its_start_is_the_kernels_to_enforce(pod, engine, tmp_path):
    """The engine gives what the container had; the cgroup has no longer so much."""
    container = ready_to_grow(pod, engine, tmp_path, 256, 512 << 20)
    crictl("update", "--memory", 96 << 20, container.id)
    assert container.cgroup().memory_limit() == 96 << 20
    (tmp_path / "now").touch()
    assert container.wait_exit() == 128 + signal.SIGKILL, container.logs()
    assert container.status()["reason"] == "OOMKilled"


def test_nothing_of_the_compiler_is_left(pod, engine):
    """What compiles is like what finds the code in the cache, when the module runs: threads, children, signals, rights."""
    def seen():
        container = run(pod, TOOL, "wait", "600")
        until(lambda: container.logs(), "it runs")
        proc = pathlib.Path(f"/proc/{container.pid()}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        children = [(task / "children").read_text() for task in (proc / "task").iterdir()]
        facts = {key: status[key].strip() for key in ("Threads", "SigCgt", "Seccomp", "CapEff", "NoNewPrivs")}
        container.stop(grace=0)
        return facts | {"children": children}
    forget(engine)
    first = seen()
    until(lambda: kept(engine), "it is kept")
    assert first == seen()
    assert not any(first["children"]) and first["Seccomp"] == "2" and int(first["CapEff"], 16) == 0


LEAN = pathlib.Path("/usr/local/lib/kuasar/engine-wasmedge-lean.so")


def libraries(container):
    """Of its process."""
    lines = pathlib.Path(f"/proc/{container.pid()}/maps").read_text().splitlines()
    return {pathlib.Path(line.split()[5]).name for line in lines if len(line.split()) > 5}


@pytest.mark.parametrize("cached", [False, True])
def test_a_container_of_wasmedge_has_no_compiler(node, cached):
    """Its library is what most of the time and of the memory of a start would go to."""
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    forget("wasmedge")
    if cached:
        outcome(pod, TOOL, "exit", "0")
        until(lambda: kept("wasmedge"), "it is kept")
    names = libraries(run(pod, TOOL, "wait", "600"))
    assert [name for name in names if name.startswith("libwasmedge.so")] and LEAN.name in names
    assert not [name for name in names if name.startswith("libLLVM")]


# What may lie there after an upgrade of half the node: nothing, what is broken, what lacks a symbol.
@pytest.mark.parametrize("content", [None, b"\x7fELF", "another"])
def test_without_what_stands_for_it_the_compiler_is_loaded(node, content):
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    before = LEAN.read_bytes()
    try:
        if content == "another":
            # Every name of LLVM's is one of nobody's.
            content = before.replace(b"LLVMInit", b"NobodyIn")
            assert content != before
        LEAN.unlink()
        if content:
            LEAN.write_bytes(content)
        container = run(pod, TOOL, "wait", "600")
        assert [name for name in libraries(container) if name.startswith("libLLVM")]
    finally:
        LEAN.unlink(missing_ok=True)
        LEAN.write_bytes(before)
        LEAN.chmod(0o755)


def compiler_of(worker):
    """The process that it waits for, when that has given up its rights."""
    for pid in pathlib.Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split():
        status = status_of(pid)
        if status.get("Seccomp") == "2":
            return int(pid), status
    return None


def status_of(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_the_process_that_compiles(tmp_path):
    """It has the module, and a directory to write to; and ends with its worker."""
    wasm.there("wasmedge")
    bundle = Bundle(tmp_path)
    bundle.put(long_module(100_000))
    with contextlib.ExitStack() as stack:
        worker = Worker(stack, "wasmedge", bundle)
        pid, status = until(lambda: compiler_of(worker), "it compiles")
        proc = pathlib.Path(f"/proc/{pid}")
        files = sorted(re.sub(r"[:\[].*", "", os.readlink(entry)) for entry in (proc / "fd").iterdir())
        environment, arguments = (proc / "environ").read_bytes(), (proc / "cmdline").read_bytes().split(b"\0")
        root = [path.name for path in (proc / "root").iterdir()]
        networks = {os.readlink(f"/proc/{n}/ns/net") for n in (pid, worker.pid, "self")}
        os.kill(pid, signal.SIGSTOP)  # it does not end by itself
        os.kill(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)
        os.close(worker.go)
        until(lambda: status_of(pid).get("State", "Z")[0] in "ZX", "it has ended")
    assert (status["Name"], status["Uid"].split()[0], int(status["CapPrm"], 16), status["NoNewPrivs"]) == ("wasm-worker", "1000", 0, "1")
    assert arguments[:3] == [b"wasm-worker", b"compile", b"wasmedge"] and environment == b""
    assert files == ["/dev/null", "/memfd", "pipe", "pipe", "pipe"], "input, code; output, errors and what it says"
    assert all(name.startswith("code.wasm") for name in root) and len(networks) == 3


def test_the_processor_in_the_name_of_code_is_the_same_on_all(tmp_path, engine):
    names = set()
    bundle = Bundle(tmp_path)
    all_of_them = os.sched_getaffinity(0)
    try:
        for one in all_of_them:
            os.sched_setaffinity(0, {one})
            names.add(bundle.work(engine, program(7)).name)
    finally:
        os.sched_setaffinity(0, all_of_them)
    options = {"wasmtime": "speed", "wasmedge": "o2"}[engine]
    assert len(names) == 1 and re.fullmatch(f"{engine}-[0-9.]+-{options}-[0-9a-f]{{16}}-[0-9a-f]{{64}}", names.pop())


def test_code_is_kept_by_engine(pod, engine):
    outcome(pod, TOOL, "exit", "0")
    until(lambda: kept(engine), "it is kept")
    for code in kept(engine):
        code.write_bytes(b"\0asm\1\0\0\0" + b"\0" * 4096)
    assert outcome(pod, TOOL, "exit", "3")[0] == 3


@pytest.mark.parametrize("entry, says", [
    ("/truncated.wasm", "truncated.wasm"),
    ("/import.wasm", "imports that nobody offers: .*env::.*nothing"),
    ("/nostart.wasm", "exports no function _start"),
    ("/component.wasm", "component"),
    ("/data", "/data"),
])
def test_what_cannot_be_run_says_why(pod, entry, says):
    assert re.search(says, refusal(create(pod, entry)))


def test_a_component_is_for_another_engine(node):
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    assert "WasmEdge runs no components here; use wasmtime" in refusal(create(pod, "/component.wasm"))


def test_code_that_a_module_brings_along_is_none(node, image, tmp_path):
    """A section of WasmEdge's compiled code in the module would be run as if it were ours."""
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    name = b"\x08wasmedge"
    (tmp_path / "brings.wasm").write_bytes(image.read_bytes() + b"\0" + bytes([len(name) + 4]) + name + b"code")
    volume = {"host_path": str(tmp_path), "container_path": "/volume"}
    before = set(kept("wasmedge"))
    for _ in range(2):
        assert outcome(pod, "/volume/brings.wasm", "exit", "3", mounts=[volume])[0] == 3
        made = until(lambda: set(kept("wasmedge")) - before, "it is kept").pop()
        assert made.read_bytes().count(name) == 1  # ours


def test_a_compiler_that_has_no_memory(node, tmp_path):
    pod = node.pod(f"kuasar-{wasm.there('wasmedge')}")
    (tmp_path / "long.wasm").write_bytes(long_module(300_000))
    volume = {"host_path": str(tmp_path), "container_path": "/volume"}
    with pytest.raises(Failed, match="wasmedge's compiler ended without a word, .* raise the memory limit"):
        run(pod, "/volume/long.wasm", mounts=[volume], **limited(memory_limit_in_bytes=64 << 20))
    assert outcome(pod, TOOL, "exit", "3")[0] == 3
