"""Commands with the rights of the member's user.

User etcd can replace everything in its directories by links. A command of root that followed such a link would give
user etcd the rights of root. So commands that work on the member's data run as user etcd, and root changes names only
in directories where no other user can change names. The user of a local member is empty: it runs as the operator.
"""

from collections.abc import Sequence

from etcdup.core.spec.layout import Layout

Argv = tuple[str, ...]


def as_user(user: str, argv: Sequence[str]) -> Argv:
    """Return the command that runs as this user, in the directory /."""
    return ("sh", "-c", AS_USER, "as-user", user, *argv)


def in_folder_of(layout: Layout, path: str, *argv: str) -> Argv:
    """Return the command that runs in the directory of `path`. `argv` uses names in this directory.

    It runs as root if no other user can change names there, and as the member's user otherwise.
    """
    return in_folder(layout, path.rpartition("/")[0] or "/", *argv)


def in_folder(layout: Layout, folder: str, *argv: str) -> Argv:
    """Return the command that runs in `folder`, see `in_folder_of`."""
    return ("sh", "-c", IN_FOLDER, "in-folder", layout.user, folder, *argv)


def remove_argv(layout: Layout, path: str, *suffixes: str) -> Argv:
    """Return the command that removes `path`, and the paths that have these suffixes in addition."""
    name = name_of(path)
    return in_folder_of(layout, path, "rm", "-rf", "--", name, *(f"{name}{suffix}" for suffix in suffixes))


def own_folder(layout: Layout, path: str, mode: str = "0700", owner: str = "etcd:etcd") -> Argv:
    """Return the command that makes a directory, or corrects its owner and mode. A local member needs no owner."""
    return ("sh", "-c", OWN_FOLDER, "own-folder", layout.user, owner if layout.user else "", mode, path)


def name_of(path: str) -> str:
    """Return the name in the directory of a path."""
    return path.rpartition("/")[2]


# `become USER` sets `as`: the words that run a command as this user, without a way to more rights.
#
# `enter DIRECTORY` enters a directory, one name after the other, and makes the directories that do not exist. It sets
# `by`: empty as long as only root can change names in each directory on the way, and otherwise `as`. So root follows no
# link that another user can change. Each directory is checked after it was entered, when no other user can replace it.
# `via` is `by` of the directory that contains the last name.
RIGHTS = r"""
set -eu
umask 022
become() {
  as=
  [ -n "$1" ] || return 0
  command -v setpriv >/dev/null || { echo "setpriv is not installed: it is part of util-linux" >&2; exit 1; }
  as="setpriv --reuid=$(id -u -- "$1") --regid=$(id -g -- "$1") --clear-groups --no-new-privs" || exit 1
  # An old setpriv does not know all capabilities of a new kernel. Without new privileges none of them has an effect.
  if $as --inh-caps=-all --bounding-set=-all true 2>/dev/null; then as="$as --inh-caps=-all --bounding-set=-all"; fi
}
guard() {
  [ -n "$as" ] && [ -z "$by" ] || return 0
  set -- $(stat -c '%u %g %a' .)
  [ "$1" = 0 ] && [ $((0$3 & 02)) = 0 ] && { [ "$2" = 0 ] || [ $((0$3 & 020)) = 0 ]; } || by=$as
}
enter() {
  left=$1 by= via= links=0
  cd /
  guard
  while [ -n "$left" ]; do
    name=${left%%/*}
    case $left in */*) left=${left#*/} ;; *) left= ;; esac
    case $name in '' | .) continue ;; esac
    if [ -L "$name" ] && [ "$links" -lt 40 ]; then
      links=$((links + 1)) target=$(readlink -- "$name")
      case $target in /*) cd / ;; esac
      left=$target/$left
      continue
    fi
    [ -d "$name" ] || $by mkdir -- "$name"
    cd -P "./$name"
    via=$by
    guard
  done
}
"""

AS_USER = (
    RIGHTS
    + """\
become "$1"
shift
cd /
# A variable of the login, for example ETCDCTL_ENDPOINTS, must not change what a program of etcd does.
exec env -i LC_ALL=C PATH="$PATH" $as "$@"
"""
)

IN_FOLDER = (
    RIGHTS
    + """\
become "$1"
enter "$2"
shift 2
exec $by "$@"
"""
)

OWN_FOLDER = (
    RIGHTS
    + """\
become "$1"
enter "$4"
[ -z "$2" ] || $via chown -- "$2" .
$via chmod -- "$3" .
"""
)
