"""CRI spoken to containerd without a process per call: messages by protoc from cri.proto, one gRPC channel."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
import typing
import uuid

import grpc

ENDPOINT = "unix:///run/containerd/containerd.sock"
IMAGE = "localhost/kuasar/busybox:test"
NODE = 2  # NamespaceMode
CONTAINER = 1
RUNNING, EXITED = 1, 2  # ContainerState


def load():
    out = tempfile.mkdtemp(prefix="bench-proto-")
    here = pathlib.Path(__file__).resolve().parent
    subprocess.run(["protoc", f"--proto_path={here}", f"--python_out={out}", "cri.proto"], check=True)
    sys.path.insert(0, out)
    import cri_pb2
    return cri_pb2


pb = load()


class Client:
    def __init__(self):
        self.channel = grpc.insecure_channel(ENDPOINT, options=[("grpc.default_authority", "localhost")])
        for method in pb.DESCRIPTOR.services_by_name["RuntimeService"].methods:
            answer = getattr(pb, method.output_type.name)
            call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method.name}", lambda m: m.SerializeToString(),
                                            answer.FromString)
            setattr(self, method.name, lambda request, call=call: call(request, timeout=120, wait_for_ready=True))


def patient(call, seconds=20):
    """containerd that has lost a sandboxer dials it again only after some seconds, and says UNAVAILABLE until then."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as e:
            if e.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                raise
        time.sleep(0.2)


class Kind(typing.NamedTuple):
    """What is compared: a handler of containerd's, and containers for it."""

    handler: str
    programs: tuple  # names of the processes whose memory and context switches are counted
    image: str = IMAGE
    idle: tuple = ("sleep", "86400")  # the command of a container that does nothing


class Pod:
    """A pod on the host's network with one container; each step is one call."""

    def __init__(self, client, kind, log_dir):
        self.client = client
        self.kind = kind
        namespaces = pb.NamespaceOption(network=NODE, pid=CONTAINER)
        uid = uuid.uuid4().hex
        self.config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=f"bench-{uid}", uid=uid, namespace="bench"), log_directory=str(log_dir),
            linux=pb.LinuxPodSandboxConfig(cgroup_parent=f"/bench/pod{uid}",
                                           security_context=pb.LinuxSandboxSecurityContext(namespace_options=namespaces)))
        self.namespaces = namespaces
        self.log = log_dir / f"{uid}.log"  # of all its containers
        self.id = ""
        self.container = ""

    def run(self):
        request = pb.RunPodSandboxRequest(config=self.config, runtime_handler=self.kind.handler)
        self.id = self.client.RunPodSandbox(request).pod_sandbox_id
        return self

    def create(self, *command):
        """Without a command, one that does nothing."""
        name = "c" if not self.container else f"c{uuid.uuid4().hex[:8]}"
        security = pb.LinuxContainerSecurityContext(namespace_options=self.namespaces)
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=self.kind.image), command=command or self.kind.idle,
            log_path=self.log.name, linux=pb.LinuxContainerConfig(security_context=security))
        self.container = self.client.CreateContainer(
            pb.CreateContainerRequest(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)).container_id
        return self

    def start(self, container=None):
        self.client.StartContainer(pb.StartContainerRequest(container_id=container or self.container))
        return self

    def status(self, verbose=False):
        return self.client.ContainerStatus(pb.ContainerStatusRequest(container_id=self.container, verbose=verbose))

    def exec(self, *command, timeout=60):
        """timeout: seconds until it is killed, at most 120."""
        return self.client.ExecSync(pb.ExecSyncRequest(container_id=self.container, cmd=command, timeout=timeout))

    def stop_container(self):
        self.client.StopContainer(pb.StopContainerRequest(container_id=self.container, timeout=0))

    def remove_container(self):
        self.client.RemoveContainer(pb.RemoveContainerRequest(container_id=self.container))

    def stop(self):
        self.client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=self.id))

    def remove(self):
        self.client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=self.id))

    def end(self):
        """Everything of it, whatever state it is in."""
        if not self.id:
            return
        if self.container:
            with contextlib.suppress(grpc.RpcError):
                self.stop_container()
        patient(self.stop)
        patient(self.remove)
        self.id = self.container = ""
