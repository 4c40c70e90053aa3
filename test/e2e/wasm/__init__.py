"""The images of the WebAssembly tests: from scratch, with what is compiled here."""

import ctypes
import hashlib
import io
import json
import pathlib
import platform
import tarfile

import pytest

from node import run
from wasm.binary import COMPONENT, HEADER

IMAGE = "localhost/kuasar/wasm:test"
COMPONENTS = "localhost/kuasar/components:test"
WASMTIME = "/opt/wasmtime/lib/libwasmtime.so"
HERE = pathlib.Path(__file__).resolve().parent
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
# Modules in a few bytes: a header, and sections.
# Imports function env.nothing of type () -> ().
MISSING_IMPORT = HEADER + b"\1\4\1\x60\0\0" + b"\2\x0f\1\3env\7nothing\0\0"
# Exports no function.
NO_START = HEADER
# A type section that claims to be longer than the file.
TRUNCATED = HEADER + b"\1\x7f\1\x60"


def engines():
    """Names of those that are installed."""
    return [line.split()[0] for line in run("wasm-worker", "engines").stdout.splitlines()]


def there(engine):
    """Skips the test where it is not."""
    names = engines()
    if engine not in names:
        pytest.skip(f"wasm-worker has {', '.join(names)}, not {engine}")
    return engine


def compile_c(source, out, *options):
    run("clang", "--target=wasm32-wasi", "-O1", "-Wall", *options, "-o", out, source, timeout=300)


class Bytes(ctypes.Structure):
    """wasm_byte_vec_t of the WebAssembly C API."""

    _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.POINTER(ctypes.c_char))]


def compile_wat(source):
    """The binary of a module or component in the text format."""
    library = ctypes.CDLL(WASMTIME)
    library.wasmtime_wat2wasm.restype = ctypes.c_void_p
    library.wasmtime_wat2wasm.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(Bytes)]
    library.wasmtime_error_message.argtypes = [ctypes.c_void_p, ctypes.POINTER(Bytes)]
    text, made = source.read_bytes(), Bytes()
    error = library.wasmtime_wat2wasm(text, len(text), ctypes.byref(made))
    if error:
        library.wasmtime_error_message(error, ctypes.byref(made))
    result = made.data[:made.size]
    assert not error, f"{source}: {result.decode()}"
    return result


def layer(files):
    """An uncompressed tar of path -> (bytes, mode, uid)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("data", "tmp", "proc", "dev", "etc", "home"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name in ("tmp", "data") else 0o755
            tar.addfile(info)
        for name, (data, mode, uid) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(data), mode, uid, uid
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("data/outside")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../../etc/kuasar-node/crictl.yaml"
        tar.addfile(link)
    return buffer.getvalue()


class Layout:
    """An OCI image layout of one image: a config and layers, each (bytes, media type)."""

    def __init__(self, config, *layers):
        self.blobs = {}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(*config),
            "layers": [self.blob(*layer) for layer in layers],
        }
        self.manifest = self.blob(json.dumps(manifest).encode(), manifest["mediaType"])

    def blob(self, data, kind):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def index(self, **annotations):
        return json.dumps({"schemaVersion": 2, "manifests": [self.manifest | {"annotations": annotations}]}).encode()

    def files(self, index):
        """path -> bytes"""
        return {"oci-layout": LAYOUT, "index.json": index} | {f"blobs/sha256/{digest}": data for digest, data in self.blobs.items()}

    def archive(self, name):
        """A tar for `ctr images import`."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, content in self.files(self.index(**{"io.containerd.image.name": name})).items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()

    def write(self, directory, repository):
        """A folder for the node's registry."""
        for path, content in self.files(self.index(**{"org.opencontainers.image.ref.name": repository})).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(content)


def image(files, config):
    """An image of one layer."""
    data = layer(files)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]}
    described = {"architecture": ARCH[platform.machine()], "os": "linux", "config": config, "rootfs": rootfs}
    return Layout((json.dumps(described).encode(), "application/vnd.oci.image.config.v1+json"),
                  (data, "application/vnd.oci.image.layer.v1.tar"))


def artifact(module):
    """A module as the CNCF's Wasm artifact, which is no image: its layer is the module itself."""
    config = {"created": "2026-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip1",
              "layerDigests": [f"sha256:{hashlib.sha256(module).hexdigest()}"]}
    return Layout((json.dumps(config).encode(), "application/vnd.wasm.config.v0+json"), (module, "application/wasm"))


def load_image(directory, name, files, config):
    path = directory / "image.tar"
    path.write_bytes(image(files, config).archive(name))
    run("ctr", "-n", "k8s.io", "images", "import", path)


def load(directory):
    """Compiles the programs, imports the image, returns the path of the tool."""
    tool, server = directory / "tool.wasm", directory / "server.wasm"
    compile_c(HERE / "tool.c", tool)
    compile_c(HERE / "server.c", server)
    module = tool.read_bytes()
    files = {
        "tool.wasm": (module, 0o755, 0),
        "server.wasm": (server.read_bytes(), 0o755, 0),
        "bin/tool": (module, 0o755, 0),
        "secret.wasm": (module, 0o700, 0),
        "truncated.wasm": (TRUNCATED, 0o755, 0),
        "import.wasm": (MISSING_IMPORT, 0o755, 0),
        "nostart.wasm": (NO_START, 0o755, 0),
        "component.wasm": (COMPONENT, 0o755, 0),
        "text.wasm": (b"this is text\n", 0o755, 0),
        "data/file": (b"from the image\n", 0o644, 1000),
        "etc/passwd": (b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n", 0o644, 0),
        "etc/group": (b"root:x:0:\nuser:x:1000:\n", 0o644, 0),
    }
    load_image(directory, IMAGE, files, {"Entrypoint": ["/tool.wasm"], "Env": ["PATH=/bin", "FROM=image"]})
    return tool


def load_components(directory):
    """Imports the image of components: each of those beside this file by its name."""
    files = {f"{source.stem}.wasm": (compile_wat(source), 0o755, 0) for source in HERE.glob("*.wat")}
    files |= {
        "truncated.wasm": (COMPONENT + b"\7\x7f", 0o755, 0),
        "data/file": (b"from the image\n", 0o644, 1000),
    }
    load_image(directory, COMPONENTS, files, {"Entrypoint": ["/tool.wasm"], "Env": ["PATH=/bin", "FROM=image"]})
