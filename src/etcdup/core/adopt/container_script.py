"""The part of the first script that describes the container of a process: its engine, and the units that start it."""

# Functions for `_PROCESSES` of scripts.py, which has list_of and unit_of. They only read.
CONTAINERS = r"""
# Docker and podman name the control group of a container by its ID.
engine_of() {
  container=$(grep -o -E '(docker[-/]|libpod-(payload-)?)[0-9a-f]{64}' "$1/cgroup" 2>/dev/null | head -n 1)
  case $container in docker*) engine=docker ;; libpod*) engine=podman ;; *) return 1 ;; esac
  container=${container##*[!0-9a-f]}
  label=$(timeout 10 "$engine" inspect --type container --format '{{.Name}}' "$container" 2>/dev/null)
  label=${label#/}
  case $label in *[!A-Za-z0-9_.-]*) label= ;; esac
}
# The name, the restart policy, and what prevents a restart: a change of the policy, or a stop. The podman of the last
# case starts the container at each boot, and cannot change the policy.
describe_container() {
  printf '%s\n' "$engine" "$container" "$label"
  timeout 10 "$engine" inspect --type container --format '{{.HostConfig.RestartPolicy.Name}}
{{.HostConfig.RestartPolicy.MaximumRetryCount}}
{{.HostConfig.AutoRemove}}' "$container" 2>/dev/null
  if [ "$engine" = docker ] || podman update --help 2>/dev/null | grep -q -e --restart; then
    echo update
  elif [ "$(systemctl is-enabled podman-restart.service 2>/dev/null)" = enabled ]; then
    echo boot
  else
    echo stop
  fi
}
unit_of_main() {
  systemctl show --property=Id,MainPID '*.service' 2>/dev/null | { id= main=
    while IFS='=' read -r key value; do
      case $key in
        Id) id=$value ;;
        MainPID) main=$value ;;
        *) [ "$main" != "$1" ] || printf '%s\n' "$id" ;;
      esac
    done
    [ "$main" != "$1" ] || printf '%s\n' "$id"; }
}
# The units that start a container: the client or the monitor of the container is their process, or their file names it.
# Any user can name a process docker. Only a process of root, or the main process of a unit, counts.
starters_of() {
  image=$(timeout 10 "$engine" inspect --type container --format '{{.Config.Image}}' "$container" 2>/dev/null)
  for helper in /proc/[0-9]*; do
    read -r name 2>/dev/null <"$helper/comm" || continue
    case $name in docker|podman|conmon) ;; *) continue ;; esac
    words=$(list_of "$helper/cmdline")
    case $words in *--name*|'') other=$container ;; *) other=${image:-$container} ;; esac
    printf '%s\n' "$words" | grep -q -x -F -e "$container" -e "${label:-$container}" -e "--name=$label" -e "$other" ||
      continue
    unit=
    [ ! -O "$helper" ] || grep -q -s /user.slice/ "$helper/cgroup" || unit_of "$helper"
    [ -n "$unit" ] && printf '%s\n' "$unit" || unit_of_main "${helper#/proc/}"
  done
  starts="(docker|podman) (.* )?start (.* )?$label([[:space:]]|\$)"
  [ -z "$label" ] || grep -l -s -E -e "$starts" /etc/systemd/system/*.service |
    while IFS= read -r file; do printf '%s\n' "${file##*/}"; done
}
"""
