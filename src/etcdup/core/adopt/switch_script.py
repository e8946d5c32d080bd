"""The script that switches a host from the unit of another tool to the unit of etcdup, and back.

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

from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.plain_value import words

SWITCH_UNIT = "etcdup-take-over.service"
# etcd is ready when it follows a leader. A large log takes minutes to read.
READY_S = 180


@dataclass(frozen=True)
class Switch:
    """The switch of one host: the unit that runs etcd now, and its files that are renamed, by name in `old/`."""

    unit: str
    renamed: tuple[tuple[str, str], ...]


def switch_unit(layout: Layout) -> str:
    """Return the unit that runs the script, now and after a reboot. `simple`: systemd 239 restarts no oneshot."""
    return _UNIT.format(**words(folder=SWITCH_FOLDER, data=layout.data_dir))


def switch_script(switch: Switch, layout: Layout) -> str:
    """Return the script of one host."""
    head = _HEAD.format(
        **words(
            folder=SWITCH_FOLDER,
            unit=switch.unit,
            own=SWITCH_UNIT,
            etc=layout.etc,
            pki=layout.pki,
            data=layout.data_dir,
        ),
        wal=words(wal=layout.wal_dir)["wal"] if layout.wal_dir else "",
        limit=READY_S,
    )
    return head + _BODY


_UNIT = """\
# Written by etcdup: it ends the take-over of etcd on this host, also after a reboot.
[Unit]
Description=Take-over of etcd by etcdup
ConditionPathExists={folder}/switch
RequiresMountsFor={data}
After=network-online.target
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
"""

_BODY = r"""
set -u
LC_ALL=C
export LC_ALL
umask 022
cd -- "$folder" || exit 1
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
# etcd locks its database. A second process would wait for this lock.
is_open() { [ -n "$(find /proc/[0-9]*/fd -maxdepth 1 -lname "$data/member/snap/db" -print -quit 2>/dev/null)" ]; }
stop() {
  systemctl stop "$1"
  count=0
  while is_open && [ "$count" -lt "$limit" ]; do
    sleep 1
    count=$((count + 1))
  done
  is_open || return 0
  because "$1 is stopped, but a process still uses $data"
  return 1
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
    systemctl is-enabled "$unit" >old/enabled.new 2>/dev/null
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
    systemctl disable "$unit"
    stop "$unit" || return
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
    stop etcd.service
  fi
  rm -f placed
  put_back
  give_back
  sync
  systemctl daemon-reload
  [ "$(cat old/enabled)" != enabled ] || systemctl enable "$unit"
  systemctl reset-failed "$unit" 2>/dev/null
  systemctl start --no-block "$unit"
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
