"""The CNCF's Wasm artifact: a module in a registry without an image around it. containerd takes it for an image, unpacks
nothing of it, and makes a container with an empty root of it; so what a user sees is pinned here (README says what to do)."""

import subprocess

import pytest

import node as kuasar
import wasm
from node import Failed, crictl, crictl_json, run
from wasm import binary

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

PULLED, IMPORTED = "localhost/kuasar/artifact:pulled", "localhost/kuasar/artifact:imported"


@pytest.fixture(scope="module", autouse=True)
def artifacts(the_node, tmp_path_factory):
    """One comes from the node's registry by CRI, one from a file by ctr."""
    directory = tmp_path_factory.mktemp("artifact")
    wasm.artifact(binary.program(3)).write(directory / "registry", "kuasar/artifact")
    server = subprocess.Popen(["registry", "--layout", directory / "registry"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert server.stdout.readline() == b"ready\n"
        crictl("pull", PULLED)
    finally:
        server.terminate()
        server.wait()
    (directory / "artifact.tar").write_bytes(wasm.artifact(binary.program(4)).archive(IMPORTED))
    run("ctr", "-n", "k8s.io", "images", "import", directory / "artifact.tar")
    kuasar.until(lambda: IMPORTED in tags(), "CRI sees it")
    yield
    crictl("rmi", PULLED, IMPORTED)


def tags():
    return [tag for image in crictl_json("images")["images"] for tag in image["repoTags"]]


def test_it_is_an_image_to_cri():
    assert {PULLED, IMPORTED} <= set(tags())


@pytest.mark.parametrize("image", [PULLED, IMPORTED])
def test_it_names_no_program(pod, image):
    with pytest.raises(Failed, match="no command specified"):
        pod.create(image=image)


@pytest.mark.parametrize("image", [PULLED, IMPORTED])
def test_there_is_no_file_in_it(pod, image):
    """Whatever it is told to run."""
    container = pod.create("/module.wasm", image=image)
    with pytest.raises(Failed, match="/module.wasm.*no such file"):
        container.start()
