"""The commands of one step of `adopt --to-tls`, as a script for sh on the operator's machine. etcdup only prints it.

The operator reads it and runs it. It needs openssl, tar and ssh here, and etcdctl on the hosts. It can be killed at any
line and run again. Each part for a host first proves that all members are healthy.
"""

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from etcdup.core.adopt.member import Member
from etcdup.core.adopt.settings import Setting
from etcdup.core.adopt.switch_script import READY_S
from etcdup.core.adopt.to_tls import TLS_FOLDER, MemberStep, ToTls, client_url, is_prepared
from etcdup.core.spec.address import parse_ip

DROP_IN = "zz-etcdup-to-tls.conf"
CA_FOLDER = "to-tls"


def script_of(found: ToTls, members: Sequence[Member], ssh_user: str) -> str:
    """Return the script of the next step. It is empty if there is none."""
    if found.step == "done":
        return ""
    first = found.left[0].member
    if found.step == "restart":
        return _head(f"{_shown(first)} restarts with https in addition to http") + _restart(
            found.left[0], members, ssh_user
        )
    what = "the https peer URLs are added" if found.step == "add" else "the http peer URLs are removed"
    return _head(f"{what} in the member list, one member after the other") + _update(
        found.left, members, ssh_user
    )


def _head(what: str) -> str:
    return f"# {what}.\n# Run this with sh. Then run the same `etcdup adopt` command again.\nset -eu\n"


def _shown(member: Member) -> str:
    return f"{member.name} on {member.inspected.host}"


def _restart(step: MemberStep, members: Sequence[Member], ssh_user: str) -> str:
    member = step.member
    host, unit = member.inspected.host, member.process.unit
    assert unit is not None, "a member without a unit is refused"
    arguments = " ".join(map(_unit_word, (member.process.exe, *step.arguments)))
    command = f"ExecStart=\nExecStart={arguments}\n" if step.changes_arguments else ""
    variables = "".join(
        f"ETCD_{flag.upper().replace('-', '_')}={value}\n" for flag, value in step.flags.items()
    )
    secure = client_url(_after(step), "https")
    has_ca = any(map(is_prepared, members))
    local = _LOCAL.format(
        authority=(_SAME_CA if has_ca else _NEW_CA).format(ca=CA_FOLDER),
        folder=quote(f"{CA_FOLDER}/{host}"),
        ca=CA_FOLDER,
        names=f"{'IP' if parse_ip(member.peer.host) else 'DNS'}:{member.peer.host},IP:127.0.0.1,DNS:localhost",
        ssh=_ssh(host, ssh_user),
        place=TLS_FOLDER,
    )
    remote = _head_of_host(members, member) + _RESTART.format(
        unit=quote(unit.name),
        user=quote(member.process.user),
        name=DROP_IN,
        variables=variables,
        command=command,
        place=TLS_FOLDER,
        own=quote(client_url(member, "http") or secure),
        secure=quote(secure),
        tls=_files_of(_after(step)),
    )
    return local + _ON_HOST.format(ssh=_ssh(host, ssh_user), remote=remote)


def _after(step: MemberStep) -> Member:
    """Return the member with the settings of its restart."""
    changed = {flag: Setting(value, "environment") for flag, value in step.flags.items()}
    return replace(step.member, settings={**step.member.settings, **changed})


def _update(steps: Sequence[MemberStep], members: Sequence[Member], ssh_user: str) -> str:
    first = members[0]
    updates = "".join(
        f"update {step.member.listed.member_id:x} {quote(','.join(step.urls))}\n" for step in steps
    )
    remote = _head_of_host(members, first) + _UPDATE.format(updates=updates)
    return _ON_HOST.format(ssh=_ssh(first.inspected.host, ssh_user), remote=remote)


def _head_of_host(members: Sequence[Member], member: Member) -> str:
    """Return the functions of a part for a host. Clients use http as long as members serve it."""
    plain = [client_url(each, "http") for each in members]
    urls = plain if all(plain) else [client_url(each, "https") for each in members]
    near = member.process.exe.rpartition("/")[0]
    tls = "" if all(plain) else f" {_files_of(member)}"
    return _HEAD.format(
        near=quote(near),
        urls=quote(",".join(urls)),
        ctl=f"as_member{tls}",
        user=quote(member.process.user),
        limit=READY_S,
    )


def _files_of(member: Member) -> str:
    flags = (("cacert", "trusted-ca-file"), ("cert", "cert-file"), ("key", "key-file"))
    return " ".join(f"--{option}={quote(path)}" for option, flag in flags if (path := member.path(flag)))


def _ssh(host: str, user: str) -> str:
    return f"ssh {quote(f'{user}@{host}')}" + ("" if user == "root" else " sudo")


def _unit_word(text: str) -> str:
    """Return an argument for ExecStart: systemd expands `%`, `$` and escapes."""
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(character, escaped)
    return f'"{text}"'


_NEW_CA = """\
if [ ! -s {ca}/ca.pem ]; then
  printf '%s\\n' '[req]' 'distinguished_name=name' 'x509_extensions=ca' 'prompt=no' '[name]' 'CN=etcd-ca' '[ca]' \\
    'basicConstraints=critical,CA:TRUE' 'keyUsage=critical,keyCertSign,cRLSign' 'subjectKeyIdentifier=hash' \\
    >{ca}/ca.conf
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 3650 -config {ca}/ca.conf \\
    -keyout {ca}/ca-key.pem -out {ca}/ca.new
  mv {ca}/ca.new {ca}/ca.pem
fi
"""

_SAME_CA = """\
[ -s {ca}/ca.pem ] || {{ echo "run this in the directory of the earlier scripts: {ca}/ca.pem is missing" >&2; exit 1; }}
"""

_LOCAL = """\
umask 077
mkdir -p {folder}
{authority}if [ ! -s {folder}/member.pem ]; then
  printf '%s\\n' 'subjectAltName={names}' 'basicConstraints=critical,CA:FALSE' \\
    'keyUsage=critical,digitalSignature' 'extendedKeyUsage=serverAuth,clientAuth' \\
    'subjectKeyIdentifier=hash' 'authorityKeyIdentifier=keyid' >{folder}/member.conf
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config {ca}/ca.conf -subj /CN=etcd-member \\
    -keyout {folder}/member-key.pem -out {folder}/member.csr
  openssl x509 -req -sha256 -days 365 -in {folder}/member.csr -extfile {folder}/member.conf \\
    -CA {ca}/ca.pem -CAkey {ca}/ca-key.pem -CAcreateserial -out {folder}/member.new
  mv {folder}/member.new {folder}/member.pem
fi
openssl verify -CAfile {ca}/ca.pem {folder}/member.pem
cp {ca}/ca.pem {folder}/ca.pem
{ssh} mkdir -p {place} </dev/null
tar -C {folder} -cf - ca.pem member.pem member-key.pem | {ssh} tar -C {place} -xf -
"""

# A function: sh reads all of it before it runs the first line, so a connection that is lost cuts no part off.
_ON_HOST = """\
{ssh} sh -s <<'END_OF_HOST'
main() {{
{remote}}}
main
END_OF_HOST
"""

_HEAD = """\
set -eu
trap '' HUP PIPE
PATH=$PATH:/usr/local/bin:{near}
all={urls}
# Not as root: another user may own the directory of the program.
as_member() {{
  runuser -u {user} -- etcdctl --command-timeout=5s "$@"
}}
ctl() {{
  {ctl} "$@"
}}
# Wait until a command succeeds, or until the second command succeeds: it has failed for good.
wait_for() {{
  end=$(($(date +%s) + {limit}))
  until "$1" >/dev/null 2>&1; do
    if "$2" || [ "$(date +%s)" -gt "$end" ]; then
      "$1" || true
      return 1
    fi
    sleep 2
  done
}}
all_healthy() {{
  ctl --endpoints="$all" endpoint health
}}
command -v etcdctl >/dev/null || {{ echo "install etcdctl on this host: the commands need it" >&2; exit 1; }}
all_healthy || {{ echo "not all members are healthy: nothing was changed" >&2; exit 1; }}
"""

_RESTART = """\
cd {place}
unit={unit}
chown root:root . ca.pem member.pem
chmod 0755 .
chmod 0644 ca.pem member.pem
chmod 0400 member-key.pem
chown {user} member-key.pem
cat >env.new <<'END_OF_FILE'
{variables}END_OF_FILE
chmod 0644 env.new
mv env.new env
mkdir -p "/etc/systemd/system/$unit.d"
cat >drop-in.new <<'END_OF_FILE'
# Written with the commands of `etcdup adopt --to-tls`: https in addition to http.
[Service]
EnvironmentFile={place}/env
{command}END_OF_FILE
chmod 0644 drop-in.new
mv drop-in.new "/etc/systemd/system/$unit.d/{name}"
systemctl daemon-reload
systemctl restart --no-block "$unit"
sleep 2
serves_both() {{
  ctl --endpoints={own} endpoint health &&
    as_member {tls} \\
      --endpoints={secure} endpoint health
}}
has_ended() {{
  [ "$(systemctl is-active "$unit")" = failed ] || [ "$(systemctl show --property=NRestarts --value "$unit")" -gt 2 ]
}}
if ! wait_for serves_both has_ended; then
  rm "/etc/systemd/system/$unit.d/{name}"
  systemctl daemon-reload
  systemctl restart --no-block "$unit"
  echo "the member did not start with https, and starts as before again: see journalctl -u $unit" >&2
  exit 1
fi
wait_for all_healthy false
"""

_UPDATE = """\
update() {{
  id=$1 urls=$2
  wait_for all_healthy false
  wait_for change_urls false
  sleep 2
}}
change_urls() {{
  ctl --endpoints="$all" member update "$id" --peer-urls="$urls"
}}
{updates}wait_for all_healthy false
"""
