"""What each section and key of cluster.yaml means, for the reference and the schema.

Types and defaults come from the model.
"""

from pydantic import BaseModel

from etcdup.core.spec.model import (
    AccessSpec,
    BackupSpec,
    EtcdSpec,
    HostSpec,
    InstallSpec,
    KeepSpec,
    Spec,
    SshSpec,
    TlsSpec,
)

# Each section: the name of its anchor, its model, and what it is for.
SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("", Spec, "The keys of the file itself."),
    (
        "hosts[]",
        HostSpec,
        "One entry for each host, with the member on it. A cluster has 1, 3, 5 or 7 hosts.",
    ),
    (
        "ssh",
        SshSpec,
        "How etcdup connects to the hosts. A key that is missing here is read from `ssh_config`.",
    ),
    (
        "install",
        InstallSpec,
        "Where the binaries of etcd come from. See [install sources](install-sources.md).",
    ),
    ("etcd", EtcdSpec, "Settings of etcd. All members have the same settings."),
    (
        "etcd.access",
        AccessSpec,
        "The user of etcd as which etcdup logs in while authentication (`auth`) is enabled, if the client certificate "
        "of etcdup is for no user with the role root. See "
        "[users of etcd](../guides/consumers.md#etcdup-with-a-password).",
    ),
    (
        "tls",
        TlsSpec,
        "Certificates. With `mode: managed`, etcdup runs a CA in `dir`. With `mode: provided`, the files are yours: "
        "`ca`, `cert` and `key` are required, and in a path `{name}` is replaced by the name of the member.",
    ),
    ("backup", BackupSpec, "Where backups go, and how many of them `etcdup backup prune` keeps."),
    (
        "backup.keep",
        KeepSpec,
        "How many backups `etcdup backup prune` keeps. It never deletes the newest backup, nor the newest proved one.",
    ),
)

MEANINGS: dict[str, str] = {
    "name": "The name of the cluster. At most 63 characters: lower-case letters, digits, `-` and `.`.",
    "version": "The version of etcd, with all three parts, for example `3.6.14`.",
    "hosts": "The hosts of the cluster: 1, 3, 5 or 7.",
    "ssh": "See [`ssh`](#ssh).",
    "install": "See [`install`](#install).",
    "etcd": "See [`etcd`](#etcd).",
    "tls": "See [`tls`](#tls).",
    "backup": "See [`backup`](#backup).",
    "hosts[].name": "The name of the host and of its member. Names must differ.",
    "hosts[].member": "The name of the member in etcd, if it is not `name`: any characters except `,`, `=`, quotes, "
    "`\\`, `$`, `%` and back-quotes. A member keeps it.",
    "hosts[].address": "The address that members and clients connect to. A DNS name also needs `listen_address`.",
    "hosts[].ssh_address": "The address for SSH, if it is not `address`.",
    "hosts[].listen_address": "The IP address that etcd binds, if it is not `address`. `0.0.0.0` and `::` are all "
    "addresses of the host.",
    "hosts[].client_port": "The client port of this member, if it is not `etcd.client_port`.",
    "hosts[].peer_port": "The peer port of this member, if it is not `etcd.peer_port`.",
    "hosts[].metrics_port": "The metrics port of this member, if it is not `etcd.metrics_port`.",
    "hosts[].data_dir": "The data directory of this member, if it is not `etcd.data_dir`.",
    "hosts[].wal_dir": "The directory for the write-ahead log of this member, if it is not `etcd.wal_dir`.",
    "hosts[].zone": "The failure zone of the host. etcdup warns if the loss of one zone means the loss of the quorum.",
    "hosts[].local": "The member runs on the operator's machine, without SSH.",
    "hosts[].root": "Requires `local: true`. The member runs as an ordinary process, without systemd and without root, "
    "and keeps all its files below this directory.",
    "ssh.user": "The user who logs in.",
    "ssh.port": "The port of SSH.",
    "ssh.identity_file": "The private key that logs in.",
    "ssh.known_hosts": "The file with the keys of the hosts. Host keys are always checked.",
    "ssh.config_file": "Another `ssh_config`.",
    "ssh.jump": "A jump host: `user@host` or `user@host:port`.",
    "ssh.sudo": "Run commands through sudo. Required if `user` is not root.",
    "ssh.connect_timeout": "How long etcdup waits for a connection.",
    "install.from": "The source of the binaries. `host`: hosts of the cluster have them.",
    "install.path": "Requires `from: path`. A directory or a tarball with etcd and etcdctl.",
    "install.mirror": "Requires `from: auto` or `from: release`. The URL of a mirror of the releases of etcd.",
    "install.sha256": "The SHA-256 of the tarball of `version` by architecture, for example `{amd64: …}`. Required "
    "for a release whose checksum is not in etcdup. With `from: host`, it is the SHA-256 of the programs.",
    "etcd.data_dir": "The data directory. Use a disk with fast fsync.",
    "etcd.wal_dir": "A separate directory for the write-ahead log, inside a directory that only etcd uses. For example "
    "`/var/lib/etcd-log/wal`, with the disk mounted on `/var/lib/etcd-log`: etcd renames this directory.",
    "etcd.client_port": "The client port.",
    "etcd.peer_port": "The peer port.",
    "etcd.metrics_port": "The metrics port, on 127.0.0.1 of each host, without TLS.",
    "etcd.quota": "The largest size of the database. The documents of etcd recommend at most 8 GiB.",
    "etcd.heartbeat_ms": "The heartbeat interval in milliseconds.",
    "etcd.election_ms": "The election timeout in milliseconds. Use at least 10 times `heartbeat_ms`.",
    "etcd.auto_compaction": "How much history etcd keeps: a duration, or the newest revisions: `{revisions: 10000}`. "
    "`0` keeps all.",
    "etcd.extra": "Other flags of etcd, as `etcd --help` lists them, without `--`. A flag that etcdup sets itself, "
    "or that breaks a guarantee, is refused.",
    "etcd.environment": "Other environment variables of the process, for example `{GODEBUG: madvdontneed=1}`. Settings "
    "of etcd, proxies, and variables of sh and systemd are refused. Plans show the values.",
    "etcd.access": "The user of etcd as which etcdup logs in, with its password.",
    "etcd.access.user": "The name of the user. It needs the role root.",
    "etcd.access.password_command": "A command that prints the password as its first line. It runs on the operator's "
    "machine, without a shell, in the directory of cluster.yaml, and only while authentication is enabled.",
    "tls.mode": "Who makes the certificates.",
    "tls.dir": "The PKI directory: CA, keys and certificates. Relative to cluster.yaml.",
    "tls.days": "How many days a certificate is valid.",
    "tls.ca_days": "How many days a CA is valid.",
    "tls.passphrase_command": "A command that prints the passphrase of the CA key. `$ETCDUP_CA_PASSPHRASE` has "
    "precedence. The CA key is encrypted if one of the two is set when etcdup makes the CA. "
    "Otherwise, apply on a terminal asks.",
    "tls.ca": "The CA file.",
    "tls.cert": "The certificate of each member. If no other key is set, it serves clients and peers.",
    "tls.key": "The key for `cert`.",
    "tls.peer_ca": "The CA file for peers. Set all three `peer_*` keys, or none.",
    "tls.peer_cert": "The certificate of each member for peers.",
    "tls.peer_key": "The key for `peer_cert`.",
    "tls.client_cert": "The certificate that etcdup itself uses as a client. Set both `client_*` keys, or none.",
    "tls.client_key": "The key for `client_cert`.",
    "tls.client_auth": "Whether clients need a certificate. With `optional`, each program that reaches the client port "
    "can read and change all keys, unless the users of etcd are enabled.",
    "tls.crl_file": "The certificate revocation list of the CA, PEM or DER. Without it, members read no list.",
    "tls.peer_crl_file": "The revocation list of `peer_ca`. Without `peer_ca`, `crl_file` is for peers too.",
    "backup.to": "The backup destinations: one directory or `s3://bucket/prefix`, or a list of them. "
    "Each backup goes to all of them.",
    "backup.endpoint": "The URL of the S3 store, if it is not Amazon S3.",
    "backup.region": "The region of the S3 store.",
    "backup.path_style": "The bucket is in the path of the URL. With `false` it is part of the host name.",
    "backup.sse": "The encryption that the S3 store is asked to apply.",
    "backup.encrypt_to": "A public key of age (`age1…`). Backups are encrypted before they leave this machine.",
    "backup.every": "Not used yet.",
    "backup.keep": "See [`backup.keep`](#backupkeep).",
    "backup.keep.hourly": "The newest backup of each hour, for this many hours that have a backup.",
    "backup.keep.daily": "The newest backup of each day, for this many days that have a backup.",
    "backup.keep.weekly": "The newest backup of each week, for this many weeks that have a backup.",
    "backup.keep.monthly": "The newest backup of each month, for this many months that have a backup.",
}
