"""Plugins of WasmEdge, which an operator installs and allows. No package has one: there are stand-ins of our own, and what
is in the library itself."""

import pathlib

import pytest

import node as kuasar
import wasm
from node import Failed, run as run_program

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

IMAGE = "localhost/kuasar/plugins:test"
HERE = pathlib.Path(__file__).resolve().parent / "wasm/plugin"
NAME = "io.kuasar.wasm.nn_preload"


def directory():
    """Where WasmEdge looks for them."""
    library = next(pathlib.Path("/usr/lib").glob("*/libwasmedge.so.0"))
    return library.parent / "wasmedge"


def build(name, *flags):
    directory().mkdir(exist_ok=True)
    path = directory() / name
    run_program("g++", "-shared", "-fPIC", "-O1", "-Wall", "-o", path, *flags, HERE / "stand_in.cc", "-lwasmedge")
    return path


@pytest.fixture(scope="module", autouse=True)
def image(the_node, tmp_path_factory):
    wasm.there("wasmedge")
    modules = {f"{source.stem}.wasm": (wasm.compile_wat(source), 0o755, 0) for source in HERE.glob("*.wat")}
    files = modules | {"data/model": (b"a model\n", 0o644, 0), "data/secret": (b"a model\n", 0o600, 0)}
    wasm.load_image(tmp_path_factory.mktemp("plugins"), IMAGE, files, {"Entrypoint": ["/stand_in.wasm"], "Env": ["PATH=/bin"]})


@pytest.fixture(scope="module", autouse=True)
def allowed(the_node):
    config = the_node.write("plugins.toml", "wasmedge_plugins = true\n")
    the_node.restart_daemons("--config", config)
    yield config
    the_node.restart_daemons()


@pytest.fixture
def plugin():
    path = build("libkuasarStandIn.so")
    yield path
    path.unlink()


@pytest.fixture
def nn_plugin():
    path = build("libkuasarStandInNN.so", "-DSTAND_IN_NN")
    yield path
    path.unlink()


@pytest.fixture
def pod(node):
    return node.pod("kuasar-wasmedge")


def run(pod, *command, **fields):
    return pod.create(*command, image=IMAGE, **fields).start()


def preload(text):
    return {"envs": [{"key": NAME, "value": text}]}


def refused(pod, says, *command, **fields):
    with pytest.raises(Failed, match=says):
        run(pod, *command, **fields)


# ---- what a module imports ----------------------------------------------------------------------


def test_a_module_that_imports_from_a_plugin(pod, plugin):
    for _ in range(2):  # compiled, and from the cache
        assert run(pod, "/stand_in.wasm", "answer").wait_exit() == 42
    container = run(pod, "/stand_in.wasm", "answer", linux={"security_context": {"run_as_user": {"value": 1000}, "readonly_rootfs": True}})
    assert container.wait_exit() == 42


def test_a_plugin_that_is_in_the_library(pod):
    container = run(pod, "/logging.wasm")
    assert container.wait_exit() == 0 and "a line by a plugin" in container.logs()


def test_a_plugin_has_no_more_rights_than_the_module(pod, plugin):
    assert run(pod, "/stand_in.wasm", "rights").wait_exit() == 0


def test_a_module_that_needs_a_plugin_that_is_not_there(pod, plugin):
    refused(pod, "imports that nobody offers: wasi_ephemeral_nn::answer, .*plugins of WasmEdge that are installed: .*kuasar_stand_in", "/nn.wasm")
    plugin.rename(plugin.with_suffix(".not"))
    try:
        refused(pod, "imports that nobody offers: kuasar_stand_in_module::answer, .*that are installed: (?!.*kuasar_stand_in)", "/stand_in.wasm")
    finally:
        plugin.with_suffix(".not").rename(plugin)


def test_what_is_no_plugin_is_passed_over(pod, plugin):
    broken = plugin.with_name("libbroken.so")
    broken.write_bytes(b"\x7fELF and no more")
    try:
        assert run(pod, "/stand_in.wasm", "answer").wait_exit() == 42
    finally:
        broken.unlink()


# ---- a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/data/model", "data/model", "/data/model:/data/model"])
def test_a_model_that_is_there(pod, nn_plugin, path):
    text = f"default:GGML:AUTO:{path}"
    container = run(pod, "/nn.wasm", "answer", **preload(text))
    assert container.wait_exit() == 42 and container.logs() == f"{text}\n"


def test_by_an_annotation_of_the_pod(node, nn_plugin):
    pod = node.pod("kuasar-wasmedge", annotations={NAME: "default:GGML:AUTO:/data/model"})
    container = run(pod, "/nn.wasm", "answer")
    assert container.wait_exit() == 42 and container.logs() == "default:GGML:AUTO:/data/model\n"
    pod = node.pod("kuasar-wasmedge", annotations={NAME: "default:GGML:AUTO:/data/none"})
    refused(pod, f"{NAME}: /data/none in the container: No such file", "/nn.wasm")


@pytest.mark.parametrize("text, says", [
    ("model", ".*want alias:backend:target:path"),
    ("a:GGML:NPU:/data/model", "target .*NPU.*: want CPU, GPU, TPU or AUTO"),
    ("a:GGML:CPU:/data/none", "/data/none in the container: No such file"),
    ("a:openvino:CPU:/data/model:/data/none", "/data/none in the container: No such file"),
])
def test_what_is_no_model(pod, nn_plugin, text, says):
    refused(pod, f"{NAME}: {says}", "/nn.wasm", **preload(text))


def test_a_model_that_the_containers_user_may_not_read(pod, nn_plugin):
    user = {"linux": {"security_context": {"run_as_user": {"value": 1000}}}}
    refused(pod, f"{NAME}: /data/secret in the container: Permission denied", "/nn.wasm", **preload("a:GGML:CPU:/data/secret"), **user)


def test_a_model_of_the_nodes_is_none(pod, nn_plugin):
    assert pathlib.Path("/etc/kuasar-node/crictl.yaml").exists()
    refused(pod, f"{NAME}: .*in the container: No such file", "/nn.wasm", **preload("a:GGML:CPU:../../../etc/kuasar-node/crictl.yaml"))


def test_without_the_plugin(pod, plugin):
    refused(pod, f"{NAME}: WasmEdge's plugin wasi_nn is not installed", "/nn.wasm", **preload("a:GGML:CPU:/data/model"))


def test_with_another_engine(node):
    refused(node.pod("kuasar-wasmtime"), f"{NAME}: there is no WASI-NN with wasmtime: use wasmedge", "/nn.wasm", **preload("a:GGML:CPU:/data/model"))


# ---- off ----------------------------------------------------------------------------------------


def test_off_by_default(node, plugin, nn_plugin, allowed):
    node.restart_daemons()
    try:
        pod = node.pod("kuasar-wasmedge")
        refused(pod, "imports that nobody offers: kuasar_stand_in_module::answer, .*off on this node .wasmedge_plugins", "/stand_in.wasm")
        refused(pod, f"{NAME}: .*plugins are off on this node: set wasmedge_plugins = true", "/nn.wasm", **preload("a:GGML:CPU:/data/model"))
    finally:
        node.restart_daemons("--config", allowed)
