# Words for tests inside a machine; results go to the second serial port.
. "$disk/guest/words.sh"
scratch=/run/naru-test
slow=$(sed -n 's/.*naru\.slow=\([0-9]*\).*/\1/p' /proc/cmdline)
filter=$(cat "$disk/guest/filter" 2>/dev/null)

report() { printf '%s\n' "$*" >/dev/ttyS1; }

aftermath() {
  journalctl -u naru -n 12 --no-pager -o cat 2>/dev/null | cut -c1-300 | sed 's/^/LOG   naru: /' >/dev/ttyS1
}

# api PATH [curl's arguments]: asks the server over its socket.
api() {
  local path=$1
  shift
  curl --silent --show-error --fail-with-body --max-time 30 --unix-socket /run/naru/naru.sock "$@" "http://naru$path"
}

project() { naru -f "/run/disk/guest/$1.yaml" "${@:2}"; }

# The pods of a service: pod SERVICE [JQ FILTER]
pod() { api "/api/v1/pods?labelSelector=naru.io%2Fservice%3D$1" | jq -c ".items[0] | ${2:-.}"; }

# containers PROJECT: `service state exit-code pod`, sorted
containers() { project "$1" ps -a --format json | jq -rs 'flatten | sort_by(.Service) | .[] | "\(.Service) \(.State) \(.ExitCode)"'; }

# state_is PROJECT "SERVICE STATE CODE"
state_is() { containers "$1" | grep -qxE "$2"; }

# healthy PROJECT SERVICE
healthy() { project "$1" ps -a --format json | jq -es --arg service "$2" 'flatten | any(.Service == $service and .Health == "healthy")'; }

# The process of a container on the host, by what only its command line holds.
process_of() { pgrep -f -o -- "$1"; }

# What of Naru's is on this machine after it was taken off, one word each.
left_behind() {
  ! systemctl cat naru >/dev/null 2>&1 || echo unit
  ! iptables-save 2>/dev/null | grep -i naru >&2 || echo iptables-rule
  ! ip6tables-save 2>/dev/null | grep -i naru >&2 || echo ip6tables-rule
  ! pgrep -a -f '(^|/)naru( .*)? (supervisor|helper|server|agent|upgrade-watch)( |$)' >&2 || echo process
  ! ip -o link | grep naru >&2 || echo link
  ! nft list tables | grep naru >&2 || echo nft-table
  ! nft list ruleset | grep -i naru >&2 || echo nft-rule
  ! ip rule | grep -i naru >&2 || echo ip-rule
  ! ip route show table all | grep -E '10\.4[23]\.' >&2 || echo route
  ! ip neigh | grep -E 'naru|10\.4[23]\.' >&2 || echo neighbour
  ! grep -E 'naru|10\.4[23]\.' /proc/self/mounts >&2 || echo mount
  ! find /sys/fs/cgroup -type d -name '*naru*' ! -name 'naru-test*' | grep . >&2 || echo cgroup
  ! find /sys/fs/cgroup -type d -name 'pod-*' | grep . >&2 || echo pod-cgroup
  ! find /run /var/lib /etc /tmp -xdev -name '*naru*' ! -name '*naru-test*' | grep . >&2 || echo file
  ! ip netns | grep -v -E '^(elsewhere|third)' | grep . >&2 || echo netns
}

# -- of several machines, on the server

# nodes: `name Ready-condition`, sorted, in one line
nodes() { api /api/v1/nodes | jq -r '.items[] | "\(.metadata.name) \(first(.status.conditions[]? | select(.type == "Ready")).status)"' | sort | paste -sd' '; }

# annotate NODE KEY VALUE: VALUE is JSON; null removes
annotate() {
  api "/api/v1/nodes/$1" -X PATCH -o /dev/null -H 'content-type: application/merge-patch+json' \
    -d "{\"metadata\": {\"annotations\": {\"$2\": $3}}}"
}

# ready_pods SERVICE: `node name address`, sorted
ready_pods() {
  api "/api/v1/pods?labelSelector=naru.io%2Fservice%3D$1" | jq -r '.items[] | select(.metadata.deletionTimestamp == null)
    | select(any(.status.conditions[]?; .type == "Ready" and .status == "True"))
    | "\(.spec.nodeName) \(.metadata.name) \(.status.podIP)"' | sort
}

# ready_on SERVICE: the nodes of its pods that are ready, in one line
ready_on() { ready_pods "$1" | cut -d' ' -f1 | paste -sd' '; }

# asked_from SERVICE URL: what the container of a service is answered
asked_from() { project pair exec -T "$1" timeout 5 wget -q -O- "$2" </dev/null; }

# every_pod_reached: each pod of web from each machine, by address and by name
every_pod_reached() {
  local address from
  for from in on-server on-worker; do
    for address in $(ready_pods web | cut -d' ' -f3); do
      asked_from $from "http://$address/" | grep -q 'page of' || { echo "$from does not reach $address"; return 1; }
    done
    asked_from $from http://web/ | grep -q 'page of' || { echo "$from does not reach web by name"; return 1; }
  done
  asked_from on-worker http://on-server/ | grep -q 'page of' || { echo "on-worker does not reach on-server"; return 1; }
}

# -- of one machine

# running: what runs for containers, with its process: nothing in it may change when only servers and agents come and go
# A shell's child is the shell's likeness until it has become its program: such are left out.
running() {
  local pid command parent
  pgrep -a -f -- 'httpd -f -p 80|echo started >>/data|echo \$n; usleep|naru supervisor|naru helper' | sort | while read -r pid command; do
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null) || continue
    [ -n "$parent" ] || continue
    if [ "$(tr '\0' ' ' <"/proc/$parent/cmdline" 2>/dev/null)" != "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" ]; then echo "$pid $command"; fi
  done
}

# of_the_unit: the processes in the unit's control group, which systemd may kill; ours_beside: those that are out of its
# reach, by their names
of_the_unit() { sort -n /sys/fs/cgroup/system.slice/naru.service/cgroup.procs | paste -sd' '; }
ours_beside() { xargs -r ps -o args= -p </sys/fs/cgroup/naru/supervisors/cgroup.procs | cut -d' ' -f1,2 | sort -u | paste -sd,; }

# killed_with_everything: the unit's whole control group, and waits until systemd has started the unit again
killed_with_everything() {
  local before
  before=$(systemctl show -p MainPID --value naru)
  systemctl kill --kill-whom=all --signal=KILL naru
  until_ok 60 eval '! systemctl show -p MainPID --value naru | grep -qxE "0|'"$before"'"'
  until_ok 120 api /readyz
}

# agents: how many servers and agents run here
agents() { pgrep -c -f '/naru --state-dir [^ ]* --run-dir [^ ]* (server|agent)( |$)'; }
