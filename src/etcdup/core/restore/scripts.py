"""The sh scripts of a restore and an undo. Each of them can be interrupted anywhere and run again."""

# Only the last rename makes the file visible, so it is either complete or absent. If root receives it, no other user
# can change it, and the member's user can read it.
RECEIVE = """\
set -eu
umask 077
rm -rf -- "$1.part"
cat >"$1.part"
echo "$2  $1.part" | sha256sum -c --status || { echo "the snapshot arrived damaged" >&2; exit 1; }
if [ -n "$3" ] && [ "$(id -u)" = 0 ]; then chgrp -- "$3" "$1.part"; chmod 0640 "$1.part"; fi
mv -T -- "$1.part" "$1"
"""

# etcdctl 3.4 restores only to a directory that does not exist. The member's user can make one in its own directory.
RESTORE = """\
set -eu
staged=$1
shift
"$@"
mv -T -- "$staged/new/member" "$staged/member"
rmdir -- "$staged/new"
"""

# The script may be interrupted anywhere and run again. It never archives restored data as old data: it archives only
# while the staged directory exists, and that directory is renamed before restored data is in the data directory.
# Arguments: the staged directory, the suffix of the old data, and the data directory. Without the last one, the script
# runs in the data directory.
PLACE = """\
set -eu
if [ -z "$3" ]; then
  if [ -e "$1" ]; then
    mkdir -p -- "$2"
    for old in member *.wal *.tmp; do [ ! -e "$old" ] || mv -- "$old" "$2/"; done
    mv -T -- "$1" "$1.placing"
  fi
  [ -e "$1.placing" ] || exit 0
  for new in "$1.placing"/*; do [ ! -e "$new" ] || mv -- "$new" ./; done
  rmdir -- "$1.placing"
elif [ -e "$1" ]; then
  [ ! -e "$3" ] || mv -T -- "$3" "$3.$2"
  mv -T -- "$1" "$3"
fi
"""

# The script may be interrupted anywhere and run again. It never archives old data as restored data: it archives only
# while the directory of the old data exists, and that is renamed before old data is in the data directory again.
# Arguments: the suffixes of the old and of the restored data, and the data directory. Without the last one, the script
# runs in the data directory. An earlier etcdup made the directory of old data there as root.
UNDO = """\
set -eu
if [ -z "$3" ]; then
  if [ -e "$1" ]; then
    [ -w "$1" ] || { echo "user etcd must own $(pwd -P)/$1: run chown etcd:etcd $(pwd -P)/$1" >&2; exit 1; }
    mkdir -p -- "$2"
    for new in member *.wal *.tmp; do [ ! -e "$new" ] || mv -- "$new" "$2/"; done
    mv -T -- "$1" "$1.undoing"
  fi
  [ -e "$1.undoing" ] || exit 0
  for old in "$1.undoing"/*; do [ ! -e "$old" ] || mv -- "$old" ./; done
  rmdir -- "$1.undoing"
elif [ -e "$3.$1" ]; then
  [ ! -e "$3" ] || mv -T -- "$3" "$3.$2"
  mv -T -- "$3.$1" "$3"
fi
"""
