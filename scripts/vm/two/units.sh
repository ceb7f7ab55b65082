# systemd: what it may do to a server and to a worker while containers run.

tests+=(
  restart-of-both-units-under-load-loses-nothing
  kill-of-everything-in-both-units-keeps-containers
  a-worker-that-dies-again-and-again-comes-back
  a-worker-works-on-without-its-agent
)

load_begins() {
  rm -f "$scratch.load"*
  outside bash -c 'while [ ! -e "$1.stop" ]; do
      if curl -sS -f -o /dev/null --max-time 10 "http://192.0.2.$((RANDOM % 2 + 1)):8080/"; then echo ok; else echo failed; fi
    done' load "$scratch.load" >"$scratch.load" 2>&1 &
}

# patient COMMAND…: runs it while the cluster waits a minute for lost nodes: emulated, the start of an agent takes seconds,
# and this is not about what happens when those are too many.
patient() {
  on server 'naru install -- --node-grace 60s && until_ok 60 api /readyz'
  until_ok 60 eval '[ "$(on server nodes)" = "server True worker True" ]'
  "$@"
  on server 'naru install -- --node-grace 1s && until_ok 60 api /readyz'
  until_ok 60 eval '[ "$(on server nodes)" = "server True worker True" ]'
}

# load_ends: nothing of it may have failed
load_ends() {
  touch "$scratch.load.stop"
  wait
  report "NOTE $(grep -c '^ok' "$scratch.load") requests"
  lacks "the load" "$(cat "$scratch.load")" 'failed|curl'
  [ "$(grep -c '^ok' "$scratch.load")" -gt 20 ] || fail "there was no load"
}

# every_line_logged: what the counter counted, without a gap and without a repetition
every_line_logged() {
  on server "project pair logs --no-log-prefix counter 2>/dev/null | grep -E '^[0-9]+\$' | awk '
    NR > 1 && \$1 != last + 1 { print \"after\", last, \"comes\", \$1; exit 1 } { last = \$1 } END { exit NR < 20 }'"
}

# back_on_both: everything is where it belongs, with web on both machines (nothing moves back by itself)
back_on_both() {
  until_ok 120 eval '[ "$(on server "ready_on on-worker")" = worker ] && [ "$(on server "ready_on counter")" = worker ]'
  [ "$(on server 'ready_on web')" = 'server worker' ] || on server 'project pair up -d --scale web=1 && project pair up -d --scale web=2'
  until_ok 120 eval '[ "$(on server "ready_on web")" = "server worker" ]'
}

test_restart_of_both_units_under_load_loses_nothing() {
  back_on_both
  patient restart_both_under_load
}

restart_both_under_load() {
  local name
  declare -A before
  for name in server worker; do before[$name]=$(on "$name" running); done
  load_begins
  for name in worker server worker; do
    on "$name" 'systemctl restart naru && until_ok 120 api /readyz'
    until_ok 120 eval '[ "$(on server nodes)" = "server True worker True" ]'
  done
  load_ends
  for name in server worker; do same "what runs on $name" "${before[$name]}" "$(on "$name" running)"; done
  every_line_logged
}

test_kill_of_everything_in_both_units_keeps_containers() {
  back_on_both
  patient kill_everything_in_both
}

kill_everything_in_both() {
  local name before
  for name in worker server; do
    before=$(on "$name" running)
    on "$name" 'same "beside the unit" "naru helper,naru supervisor" "$(ours_beside)"; killed_with_everything'
    same "what runs on $name" "$before" "$(on "$name" running)"
    until_ok 120 eval '[ "$(on server nodes)" = "server True worker True" ]'
  done
  every_line_logged
  everything_is_reached
}

test_a_worker_that_dies_again_and_again_comes_back() {
  on worker 'for _ in 1 2 3 4 5 6 7; do
      agent=$(systemctl show -p MainPID --value naru)
      [ "$agent" = 0 ] || kill -9 "$agent"
      until_ok 30 eval "! systemctl show -p MainPID --value naru | grep -qxE \"0|$agent\""
    done
    until_ok 60 api /readyz
    same "agents" 1 "$(agents)"'
  until_ok 60 eval '[ "$(on server nodes)" = "server True worker True" ]'
  # Emulated, that takes longer than the cluster waits for a node.
  back_on_both
}

test_a_worker_works_on_without_its_agent() {
  local before page
  back_on_both
  before=$(on worker running)
  on worker 'systemctl stop naru; same "agents" 0 "$(agents)"'
  page=$(for _ in 1 2 3 4 5 6 7 8; do fetch_from_outside 192.0.2.2 || true; done | sort -u)
  same "while stopped" "$before" "$(on worker running)"
  on worker 'systemctl start naru && until_ok 60 api /readyz'
  holds "the port" "$page" 'page of'
  until_ok 120 eval '[ "$(on server nodes)" = "server True worker True" ]'
  back_on_both
}
