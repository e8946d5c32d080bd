"""What starts a member: the systemd unit, or a script for a local member without systemd."""

import hashlib

from etcdup.core.host.startup_fence import fence_command
from etcdup.core.spec.layout import Layout

# Sent through the environment so that the running process tells which unit it was started from: systemd
# itself forgets that at daemon-reload.
UNIT_VARIABLE = "ETCDUP_UNIT"


def unit_text(cluster: str, member: str, layout: Layout) -> str:
    """etcd.service, hardened (rule 89). The guide's lines stand first, in the guide's words."""
    body = _BODY.format(
        cluster=cluster,
        member=member,
        data_dir=layout.data_dir,
        wal_dir=layout.wal_dir or f"{layout.data_dir}/member/wal",
        mounts=" ".join(filter(None, (layout.data_dir, layout.wal_dir))),
        writable=" ".join(filter(None, (layout.data_dir, layout.wal_parent))),
        conf=layout.conf,
        join=layout.join,
        current=layout.current,
        ask=fence_command(layout).replace("$", "$$"),  # a single `$` is systemd's own
    )
    return body.replace("@UNIT@", text_digest(body))


def text_digest(text: str) -> str:
    """Twelve characters that name a unit's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def unit_digest(text: str) -> str:
    """The digest that a unit's text carries in itself; empty where it carries none."""
    return text.partition(f"{UNIT_VARIABLE}=")[2].partition("\n")[0]


_BODY = """\
# Written by etcdup. Edit cluster.yaml rather than this file: `etcdup plan` shows every difference.
[Unit]
Description=etcd, member {member} of cluster {cluster}
Documentation=https://etcd.io/docs/
After=network-online.target time-sync.target
Wants=network-online.target
RequiresMountsFor={mounts}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User=etcd
Group=etcd
WorkingDirectory={data_dir}
EnvironmentFile={conf}
# Only there for a member's very first start, and on tmpfs: a reboot forgets it.
EnvironmentFile=-{join}
Environment=ETCDUP_UNIT=@UNIT@
# No write-ahead log means a lost or an unmounted disk, never a reason to start empty (etcd would). And another cluster
# may have taken this one's place while the host was off: the other members are asked, and where none says so in time,
# etcd starts.
ExecStartPre=/bin/sh -c 'ls {wal_dir}/*.wal >/dev/null 2>&1 || test -e {join} || \
{{ echo "{data_dir} holds no member: is its disk mounted?" >&2; exit 1; }}; \\
{ask}'
ExecStart={current}/etcd
Restart=on-failure
RestartSec=5
# etcd is ready only when there is a quorum, which may take as long as the other hosts need.
TimeoutStartSec=infinity
TimeoutStopSec=60
LimitNOFILE=65536
OOMScoreAdjust=-999
IOSchedulingClass=best-effort
IOSchedulingPriority=0

UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=yes
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


def start_script(layout: Layout) -> str:
    """Starts a local member in the background, with the same settings and the same refusals."""
    body = _SCRIPT.format(
        conf=layout.conf,
        join=layout.join,
        data_dir=layout.data_dir,
        wal_dir=layout.wal_dir or f"{layout.data_dir}/member/wal",
        run=layout.run,
        pid_file=layout.pid_file,
        log=layout.log,
        current=layout.current,
        ask=fence_command(layout),
    )
    return body.replace("@UNIT@", text_digest(body))


_SCRIPT = """\
#!/bin/sh
# Written by etcdup: starts this local member in the background.
set -eu
export ETCDUP_UNIT=@UNIT@
set -a
. {conf}
if [ -e {join} ]; then . {join}; fi
set +a
ls {wal_dir}/*.wal >/dev/null 2>&1 || test -e {join} || {{
    echo "{data_dir} holds no member: is its disk mounted?" >&2
    exit 1
}}
# Another cluster may have taken this one's place: the other members are asked, and where none says so, etcd starts.
( {ask} ) || exit 1
mkdir -p {run}
cd {data_dir}
nohup setsid {current}/etcd >>{log} 2>&1 </dev/null &
echo $! >{pid_file}
"""
