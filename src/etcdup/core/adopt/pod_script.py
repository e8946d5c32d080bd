"""The parts of the scripts that find the kubelet, and the manifest from which it runs a static pod."""

# Any user can name a process kubelet: only one of root counts, with the files of the host.
FIND_KUBELET = r"""
find_kubelet() {
  for kubelet in /proc/[0-9]*; do
    read -r name 2>/dev/null <"$kubelet/comm" || continue
    [ "$name" = kubelet ] && [ -O "$kubelet" ] && [ "$kubelet/ns/mnt" -ef /proc/1/ns/mnt ] && return
  done
  return 1
}
"""
# Functions for `_PROCESSES` of scripts.py, which has list_of, flag_of and unit_of. They only read.
PODS = (
    FIND_KUBELET
    + r"""
# The directory or the file of static pods: of the flag, otherwise of the configuration file and its drop-ins. There, a
# relative path begins at the directory of that file.
static_pods() {
  path=$(flag_of "$kubelet" pod-manifest-path) drop_ins=$(flag_of "$kubelet" config-dir)
  if [ -z "$path" ]; then
    for file in "$(flag_of "$kubelet" config)" ${drop_ins:+"$drop_ins"/*.conf}; do
      [ -f "$file" ] || continue
      found=$(sed -n '/^[[:space:]]*#/d
        s/.*staticPodPath["'\'']\{0,1\}[[:space:]]*:[[:space:]]*["'\'']\{0,1\}\([^"'\'',}[:space:]]*\).*/\1/p' "$file" |
        tail -n 1)
      case $found in '') ;; /*) path=$found ;; *) path=${file%/*}/$found ;; esac
    done
  fi
  case $path in /*) printf '%s\n' "${path%/}" ;; esac
}
# The kubelet reads all files of the directory, except those that begin with a dot.
manifests() {
  if [ -d "$1" ]; then set -- "$1"/*; fi
  for file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
}
# The unit of the kubelet, then the manifests that have all arguments of the process.
describe_pod() {
  [ -n "$kubelet" ] || return
  unit_of "$kubelet"
  printf '%s\n' "$unit"
  arguments=$(list_of "$1/cmdline" | tail -n +2)
  [ -z "$arguments" ] || manifests "$pods" | while IFS= read -r file; do
    [ "$(stat -L -c %s -- "$file")" -le 262144 ] || continue
    missing=$(printf '%s\n' "$arguments" | while IFS= read -r word; do
      grep -q -F -e "$word" -- "$file" || { echo missing; break; }; done)
    [ -n "$missing" ] || printf '%s\n' "$file"
  done
}
"""
)
