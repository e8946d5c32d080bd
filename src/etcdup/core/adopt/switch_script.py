"""The script that switches a host from the unit, container or pod of another tool to the unit of etcdup, and back.

systemd runs it as a unit of its own: it continues without an SSH connection, and after a reboot. A power cut can follow
any of its lines. So it derives what is left from the files below SWITCH_FOLDER:

    files, renamed     what to place, and what to rename: a name and a path on each line
    new/, old/         the files of etcdup that are not in place, and the files of the other tool that are not in place
    placed             the files of etcdup are in place, and the data belongs to its user
    back               the way is back: the new member did not start, or the operator gives the member back
    new.done, old.done the script has ended, and this member runs

At the end, the new or the old member runs. No file of the other tool is deleted.
"""

from dataclasses import dataclass

from etcdup.core.adopt.pod_script import FIND_KUBELET
from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.plain_value import words

SWITCH_UNIT = "etcdup-take-over.service"
# etcd is ready when it follows a leader. A large log takes minutes to read.
READY_S = 180


@dataclass(frozen=True)
class Switch:
    """The switch of one host: the unit that runs etcd now, and its files that are renamed, by name in `old/`.

    A container has an engine, an ID, and the data in the directory `inside`. The engine starts it again by the policy
    `restart`, empty if its policy must not be changed. A container without a unit is started by its engine.

    A static pod has a manifest, and the unit of its kubelet, which stays. The kubelet has the directory `pod` while it
    can start the pod.
    """

    unit: str
    renamed: tuple[tuple[str, str], ...] = ()
    engine: str = ""
    container: str = ""
    restart: str = ""
    inside: str = ""
    kubelet: str = ""
    manifest: str = ""
    pod: str = ""


def switch_unit(layout: Layout) -> str:
    """Return the unit that runs the script, now and after a reboot. `simple`: systemd 239 restarts no oneshot."""
    return _UNIT.format(**words(folder=SWITCH_FOLDER, data=layout.data_dir))


def switch_script(switch: Switch, layout: Layout) -> str:
    """Return the script of one host."""
    head = _HEAD.format(
        **words(
            folder=SWITCH_FOLDER,
            own=SWITCH_UNIT,
            etc=layout.etc,
            pki=layout.pki,
            data=layout.data_dir,
        ),
        **_optional(
            wal=layout.wal_dir or "",
            unit=switch.unit,
            engine=switch.engine,
            container=switch.container,
            restart=switch.restart,
            inside=switch.inside or layout.data_dir,
            kubelet=switch.kubelet,
            manifest=switch.manifest,
            pod=switch.pod,
        ),
        limit=READY_S,
    )
    return head + FIND_KUBELET + _BODY


def _optional(**values: str) -> dict[str, str]:
    return {name: words(**{name: value})[name] if value else "" for name, value in values.items()}


_UNIT = """\
# Written by etcdup: it ends the take-over of etcd on this host, also after a reboot.
[Unit]
Description=Take-over of etcd by etcdup
ConditionPathExists={folder}/switch
RequiresMountsFor={data}
After=network-online.target docker.service podman-restart.service
Wants=network-online.target

[Service]
Type=simple
ExecStart=/bin/sh {folder}/switch
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""

_HEAD = """\
#!/bin/sh
# Written by etcdup: it switches etcd on this host to the unit of etcdup. See `etcdup adopt --take-over`.
folder={folder} unit={unit} own={own} limit={limit}
etc={etc} pki={pki} data={data} wal={wal}
engine={engine} container={container} restart={restart} inside={inside}
kubelet_unit={kubelet} manifest={manifest} pod={pod}
"""

_BODY = r"""
set -u
LC_ALL=C
export LC_ALL
umask 022
cd -- "$folder" || exit 1
starter=${unit:-$kubelet_unit}
exists() { [ -e "$1" ] || [ -L "$1" ]; }
# A file of the other tool is never replaced: an earlier one of this name gets a number.
rename() {
  mv -T --backup=numbered -- "$1" "$2"
}
flag() {
  : >"$1"
  sync -f "$1"
}
because() { echo "$*" >why; }
# etcd locks its database. A second process would wait for this lock. A container has its own name for the file.
is_open() {
  [ -n "$(find /proc/[0-9]*/fd -maxdepth 1 \( -lname "$data/member/snap/db" -o -lname "$inside/member/snap/db" \) \
    -print -quit 2>/dev/null)" ]
}
# Right after a boot, the kubelet can have read the manifest, and no process runs yet. The directory of the pod is there
# until the kubelet cannot start it any more. A kubelet that starts later does not find the manifest.
is_used() {
  is_open || { [ -n "$pod" ] && exists "$pod" && find_kubelet; }
}
wait_until_closed() {
  count=0
  while is_used && [ "$count" -lt "$limit" ]; do
    sleep 1
    count=$((count + 1))
  done
  is_used || return 0
  because "$1, but $data is still in use"
  return 1
}
# A unit can delete its container when it stops, and make another one when it starts.
has_container() { "$engine" inspect --type container "$container" >/dev/null 2>&1; }
set_restart() {
  [ -z "$restart" ] || ! has_container || "$engine" update --restart="$1" "$container" >/dev/null
}
stop_container() {
  ! has_container || "$engine" stop -t "$limit" "$container" >/dev/null
}
# The engine must not start a container again, now or at the next boot. So its policy is first.
stop_old() {
  [ -z "$unit" ] || systemctl disable "$unit"
  if [ -n "$engine" ]; then
    "$engine" ps >/dev/null || { because "$engine does not answer" && return 1; }
    set_restart no || { because "$engine does not change the restart policy of the container" && return 1; }
  fi
  [ -z "$unit" ] || systemctl stop "$unit"
  [ -z "$engine" ] || stop_container || { because "$engine does not stop the container" && return 1; }
  take_manifest || { because "$manifest could not be moved" && return 1; }
  [ -z "$manifest" ] || { wait_until_closed "the kubelet has no manifest any more"; return; }
  wait_until_closed "${unit:-the container} is stopped"
}
# The kubelet ends the pod of a manifest that leaves its directory, and starts it when the manifest returns. So a
# manifest returns last. One that was written there again stays: a second file would be a second pod.
take_manifest() {
  [ -z "$manifest" ] || ! exists "$manifest" || rename "$manifest" old/static-pod
}
return_manifest() {
  [ -z "$manifest" ] || exists "$manifest" || rename old/static-pod "$manifest"
}
# While the engine does not answer, systemd starts the script again.
start_old() {
  [ -z "$engine" ] || { "$engine" ps >/dev/null && set_restart "$restart"; } || exit 1
  return_manifest || exit 1
  if [ -z "$starter" ]; then
    "$engine" start "$container" >/dev/null || exit 1
    return
  fi
  [ "$(cat old/enabled)" != enabled ] || systemctl enable "$starter"
  systemctl reset-failed "$starter" 2>/dev/null
  systemctl start --no-block "$starter"
}
start() {
  systemctl reset-failed "$1" 2>/dev/null
  systemctl start --no-block "$1"
  count=0
  until [ "$(systemctl is-active "$1")" = active ]; do
    case $(systemctl show --property=ActiveState,SubState "$1") in
      *auto-restart* | *=failed*) because "etcd ended after its start" && return 1 ;;
    esac
    [ "$count" -lt "$limit" ] || { because "etcd was not ready after $limit seconds" && return 1; }
    sleep 1
    count=$((count + 1))
  done
}
# Keep what the way back needs. A complete file has its name.
remember() {
  exists old/enabled || {
    systemctl is-enabled "${starter:-no.service}" >old/enabled.new 2>/dev/null
    mv -f old/enabled.new old/enabled
  }
  exists old/rights || {
    for each in "$data" $wal ${wal:+"${wal%/*}"} "$etc" "$pki"; do
      [ ! -d "$each" ] || stat -c '%u:%g %a %n' -- "$each"
    done >old/rights.new
    mv -f old/rights.new old/rights
  }
  sync -f old
}
give_to_etcd() {
  mkdir -p -- "$pki"
  chown root:etcd -- "$etc" "$pki"
  chmod g-w,o-w,g+rx -- "$etc"
  chmod 0750 -- "$pki"
  for each in "$data" $wal; do
    [ "$(stat -c %U:%G -- "$each")" = etcd:etcd ] || chown -hR etcd:etcd -- "$each" || return
    chmod 0700 -- "$each"
  done
  [ -z "$wal" ] || chown etcd:etcd -- "${wal%/*}"
}
give_back() {
  while read -r owner mode each; do
    case $each in
      "$data" | "$wal") [ "$(stat -c %u:%g -- "$each")" = "$owner" ] || chown -hR "$owner" -- "$each" ;;
      *) chown "$owner" -- "$each" ;;
    esac
    chmod "$mode" -- "$each"
  done <old/rights
}
place() {
  while read -r name path; do
    exists "old/$name" || ! exists "$path" || rename "$path" "old/$name"
  done <renamed
  while read -r name path; do
    exists "new/$name" || continue
    ! exists "$path" || rename "$path" "old/$name"
    rename "new/$name" "$path" || return
  done <files
}
put_back() {
  while read -r name path; do
    exists "new/$name" || ! exists "$path" || rename "$path" "new/$name"
    ! exists "old/$name" || rename "old/$name" "$path"
  done <files
  while read -r name path; do
    ! exists "old/$name" || rename "old/$name" "$path"
  done <renamed
}
forward() {
  remember
  if ! exists placed; then
    stop_old || return
    give_to_etcd || { because "the owner of $data could not be changed" && return 1; }
    place || { because "the files of etcdup could not be placed" && return 1; }
    sync
    flag placed
  fi
  systemctl daemon-reload
  systemctl enable etcd.service
  start etcd.service
}
backward() {
  if ! exists new/etcd.service; then
    systemctl disable etcd.service
    systemctl stop etcd.service
    wait_until_closed "etcd.service is stopped"
  fi
  rm -f placed
  put_back
  give_back
  sync
  systemctl daemon-reload
  start_old
}
exists back || forward || {
  systemctl status --no-pager --lines=30 etcd.service >log 2>&1
  flag back
}
if exists back; then
  backward
  flag old.done
else
  flag new.done
fi
systemctl disable "$own"
"""
