"""Members that a real kubelet runs as static pods, in the layout of kubeadm for an external etcd.

The images are made here, because the machines have no registry. The kubelet is standalone: it has no apiserver.
"""

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.operator import Operator
from tests.support.cache import build_once, cache_dir
from tests.support.etcd_binaries import etcd_binaries
from tests.support.etcd_certs import Authority
from tests.support.kubernetes_binaries import kubernetes_binary

MANIFESTS = "/etc/kubernetes/manifests"
PKI = "/etc/kubernetes/pki/etcd"
PAUSE = "registry.k8s.io/pause:3.10"
PAUSE_SOURCE = 'package main\n\nimport "time"\n\nfunc main() {\n\tfor {\n\t\ttime.Sleep(time.Hour)\n\t}\n}\n'
# cmd/kubeadm/app/phases/etcd/local.go
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/etcd.advertise-client-urls: https://{address}:2379
  labels:
    component: etcd
    tier: control-plane
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=https://{address}:2379
    - --cert-file={pki}/server.crt
    - --client-cert-auth=true
    - --data-dir=/var/lib/etcd
    - --experimental-initial-corrupt-check=true
    - --experimental-watch-progress-notify-interval=5s
    - --initial-advertise-peer-urls=https://{address}:2380
    - --initial-cluster={cluster}
    - --initial-cluster-state=new
    - --key-file={pki}/server.key
    - --listen-client-urls=https://127.0.0.1:2379,https://{address}:2379
    - --listen-metrics-urls=http://127.0.0.1:2381
    - --listen-peer-urls=https://{address}:2380
    - --name={name}
    - --peer-cert-file={pki}/peer.crt
    - --peer-client-cert-auth=true
    - --peer-key-file={pki}/peer.key
    - --peer-trusted-ca-file={pki}/ca.crt
    - --snapshot-count=10000
    - --trusted-ca-file={pki}/ca.crt
    image: {image}
    imagePullPolicy: IfNotPresent
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: 127.0.0.1
        path: /health?exclude=NOSPACE&serializable=true
        port: 2381
        scheme: HTTP
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    name: etcd
    resources:
      requests:
        cpu: 100m
        memory: 100Mi
    startupProbe:
      failureThreshold: 24
      httpGet:
        host: 127.0.0.1
        path: /health?serializable=false
        port: 2381
        scheme: HTTP
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    volumeMounts:
    - mountPath: /var/lib/etcd
      name: etcd-data
    - mountPath: /etc/kubernetes/pki/etcd
      name: etcd-certs
  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext:
    seccompProfile:
      type: RuntimeDefault
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki/etcd
      type: DirectoryOrCreate
    name: etcd-certs
  - hostPath:
      path: /var/lib/etcd
      type: DirectoryOrCreate
    name: etcd-data
status: {{}}
"""
# The control groups of a machine have no controllers, so there are no groups for classes of quality, and no limits. A
# kubelet waits up to 5 minutes before it starts a pod that has ended several times in 10 minutes. The cuts do that.
KUBELET_CONFIG = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
enforceNodeAllocatable: []
evictionHard: {nodefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
failSwapOn: false
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: ""
"""
KUBELET_UNIT = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStartPre=/usr/local/sbin/prepare-kubelet
ExecStart=/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --address=127.0.0.1 {flags}
Restart=always
RestartSec=3

[Install]
WantedBy=multi-user.target
"""
# The kubelet reads the log of the kernel, and writes settings that are not what it needs. A machine cannot change them.
PREPARE_KUBELET = """\
#!/bin/sh
ln -sf /dev/null /dev/kmsg
mkdir -p /run/kubelet-settings
for each in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  path=/proc/sys/${each%=*} file=/run/kubelet-settings/${each##*/}
  [ "$(cat $path)" != "${each#*=}" ] || continue
  echo "${each#*=}" >$file
  mount --bind $file $path
done
"""
CONTAINERD_CONFIG = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "/usr/local/sbin/runc-without-limits"
"""
# The names of the control groups are those of a kubelet with classes of quality.
RUNC = """\
#!/bin/sh
bundle=
for word; do
  [ "$bundle" != next ] || { bundle=$word; break; }
  [ "$word" != --bundle ] || bundle=next
done
[ -z "$bundle" ] || perl -0pi -e '
  s/"resources":(\\{(?:[^{}]|(?1))*\\})/"resources":{}/;
  s,"cgroupsPath":"[^"]*/,"cgroupsPath":"/kubepods/burstable/,' "$bundle/config.json"
exec /usr/sbin/runc "$@"
"""
START = """
set -e
chmod 755 /usr/bin/kubelet
systemctl daemon-reload
systemctl enable -q containerd kubelet
systemctl start containerd
for each in pause etcd; do ctr -n k8s.io images import --snapshotter native /root/$each.tar >/dev/null; done
rm /root/pause.tar /root/etcd.tar
systemctl start kubelet
"""


def make_static_pods(operator: Operator, version: str) -> None:
    """Start a cluster. infra3 has another directory of manifests, in a flag of its kubelet. infra1 has the CA key."""
    authority = Authority("etcd-ca", days=3650)
    machines = operator.lab.machines
    cluster = ",".join(f"{each.name}=https://{each.address}:2380" for each in machines)
    image = f"registry.k8s.io/etcd:{version}-0"
    programs = {f"usr/local/bin/{each.name}": each.read_bytes() for each in etcd_binaries(version).iterdir()}
    images = {
        "pause": image_archive(PAUSE, {"pause": _pause().read_bytes()}, "/pause"),
        "etcd": image_archive(image, programs, "/usr/local/bin/etcd"),
    }
    machines[0].write(f"{PKI}/ca.key", authority.key_pem.decode(), "600")
    for machine in machines:
        _write_certificates(machine, authority)
        _write_kubelet(machine, images)
        text = MANIFEST.format(
            name=machine.name, address=machine.address, cluster=cluster, image=image, pki=PKI
        )
        machine.write(f"{manifests_of(machine)}/etcd.yaml", text, "600")
    operator.lab.each(lambda machine: machine.run(START, timeout_s=300))
    for machine in machines:
        machine.run("for _ in $(seq 300); do pidof etcd && exit; sleep 0.2; done; exit 1")


def manifests_of(machine: Machine) -> str:
    return "/etc/static-pods" if machine.name == "infra3" else MANIFESTS


def _write_certificates(machine: Machine, authority: Authority) -> None:
    machine.run("mkdir -p -m 700 /var/lib/etcd")
    machine.write(f"{PKI}/ca.crt", authority.pem.decode())
    for name in ("server", "peer"):
        addresses = [machine.address, "127.0.0.1"]
        pair = authority.issue(machine.name, addresses, [machine.name, "localhost"], days=365)
        machine.write(f"{PKI}/{name}.crt", pair.cert.decode())
        machine.write(f"{PKI}/{name}.key", pair.key.decode(), "600")


def _write_kubelet(machine: Machine, images: Mapping[str, bytes]) -> None:
    has_flag = manifests_of(machine) != MANIFESTS
    flags = f"--pod-manifest-path={manifests_of(machine)}" if has_flag else ""
    config = KUBELET_CONFIG if has_flag else f"{KUBELET_CONFIG}staticPodPath: {MANIFESTS}\n"
    machine.write("/var/lib/kubelet/config.yaml", config)
    machine.write("/etc/systemd/system/kubelet.service", KUBELET_UNIT.format(flags=flags))
    machine.write("/usr/local/sbin/prepare-kubelet", PREPARE_KUBELET, "755")
    machine.write("/usr/local/sbin/runc-without-limits", RUNC, "755")
    machine.write("/etc/containerd/config.toml", CONTAINERD_CONFIG)
    (machine.root / "usr/bin/kubelet").write_bytes(kubernetes_binary("kubelet").read_bytes())
    for name, archive in images.items():
        (machine.root / f"root/{name}.tar").write_bytes(archive)


def _pause() -> Path:
    """Return the program of a pod's first container, which does nothing."""

    def build(making: Path) -> None:
        source = making / "pause.go"
        source.write_text(PAUSE_SOURCE)
        argv = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(making / "pause"), str(source)]
        subprocess.run(argv, env=os.environ | {"CGO_ENABLED": "0"}, check=True, capture_output=True)

    return build_once(cache_dir() / "pause", build) / "pause"


def image_archive(name: str, programs: Mapping[str, bytes], entrypoint: str) -> bytes:
    """Return an image with these programs, as `docker save` writes it."""
    layer = _tar({path: (content, 0o755) for path, content in programs.items()})
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": arch,
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": (json.dumps(config).encode(), 0o644),
            "layer.tar": (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, (content, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()
