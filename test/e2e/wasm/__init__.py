"""The images of the WebAssembly tests: from scratch, with what is compiled here."""

import ctypes
import hashlib
import io
import json
import pathlib
import platform
import tarfile

from node import run

IMAGE = "localhost/kuasar/wasm:test"
COMPONENTS = "localhost/kuasar/components:test"
WASMTIME = "/opt/wasmtime/lib/libwasmtime.so"
HERE = pathlib.Path(__file__).resolve().parent
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
# Modules in a few bytes (WebAssembly core specification, section 5): a header, and sections.
HEADER = b"\0asm\1\0\0\0"
# Imports function env.nothing of type () -> ().
MISSING_IMPORT = HEADER + b"\1\4\1\x60\0\0" + b"\2\x0f\1\3env\7nothing\0\0"
# Exports no function.
NO_START = HEADER
# A type section that claims to be longer than the file.
TRUNCATED = HEADER + b"\1\x7f\1\x60"
# The header of a component instead of a module's.
COMPONENT = b"\0asm\x0d\0\1\0"


def compile_c(source, out):
    run("clang", "--target=wasm32-wasi", "-O1", "-Wall", "-o", out, source, timeout=300)


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


def archive(name, files, config):
    """An image archive (OCI image layout) of one layer."""
    blobs = {}

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    data = layer(files)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]}
    image = {"architecture": ARCH[platform.machine()], "os": "linux", "config": config, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(image).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(data, "application/vnd.oci.image.layer.v1.tar")],
    }
    top = blob(json.dumps(manifest).encode(), manifest["mediaType"])
    top["annotations"] = {"io.containerd.image.name": name}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        index = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        for path, content in [("oci-layout", LAYOUT), ("index.json", index), *((f"blobs/sha256/{d}", b) for d, b in blobs.items())]:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def load_image(directory, name, files, config):
    path = directory / "image.tar"
    path.write_bytes(archive(name, files, config))
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
