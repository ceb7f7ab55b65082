# Machines that restart, and one whose power goes.

tests+=(
  memory-of-both
  reboot-of-the-worker-brings-all-back-once
  reboot-of-the-server-leaves-the-worker-alone
  power-cut-of-the-worker-is-bridged-and-it-returns
)

# all_once: nothing twice, nothing too many, on either machine
all_once() {
  local name
  for name in server worker; do
    on "$name" 'same "servers and agents" 1 "$(agents)"
      same "helpers" 1 "$(pgrep -c -f "naru helper")"
      pods=$(ls /var/lib/naru/pods | wc -l); supervisors=$(pgrep -c -f "naru supervisor")
      [ "$supervisors" -le "$pods" ] || fail "$supervisors supervisors, $pods pods"
      lacks "the log" "$(journalctl -b -u naru --no-pager -o cat)" "panicked"'
    same "containers on $name" "$(on server "for service in web on-server on-worker counter; do ready_on \$service | tr ' ' '\n'; done | grep -c -x $name")" \
      "$(on "$name" 'pgrep -f -- "httpd -f -p 80|echo started >>/data|echo .n; usleep" | wc -l')"
  done
  same "pods" 5 "$(on server 'api /api/v1/pods | jq "[.items[] | select(.status.phase == \"Running\")] | length"')"
}

story() { on server 'project pair exec -T on-worker cat /data/story </dev/null' | paste -sd' '; }

# What the control groups of the unit (the daemon) and of supervisors and the helper hold, without containers.
test_memory_of_both() {
  local name
  for name in server worker; do
    report "NOTE memory of $name: $(on "$name" '
      mib() { echo $(($(cat "/sys/fs/cgroup/$1/memory.current") / 1048576)); }
      pss() { for pid in $(pgrep -f "$1"); do sed -n "s/^Pss: *\([0-9]*\) kB/\1/p" /proc/$pid/smaps_rollup; done | awk "{ sum += \$1 } END { printf \"%.1f\", sum / 1024 }"; }
      echo "its unit $(mib system.slice/naru.service) MiB, supervisors and helper $(mib naru/supervisors) MiB on cgroup v2 (with file cache); PSS: daemon $(pss "/naru --state-dir") MiB," \
        "helper $(pss "naru helper") MiB, $(pgrep -c -f "naru supervisor") supervisors $(pss "naru supervisor") MiB"')"
  done
}

test_reboot_of_the_worker_brings_all_back_once() {
  local before
  back_on_both
  before=$(story)
  tell worker 'systemctl reboot'
  went_down worker 100
  # Its pods that may run elsewhere do, whoever asks.
  until_ok 90 eval '[ "$(on server "ready_on web")" = "server server" ] || [ "$(on server "ready_on web")" = server ]'
  # It comes back without IPv6: another kind of machine that users have.
  switch_on worker ipv6.disable=1
  restarted worker
  until_ok 180 eval '[ "$(on server nodes)" = "server True worker True" ]'
  on worker '[ ! -e /proc/sys/net/ipv6 ]'
  back_on_both
  same "the volume" "$before ended started" "$(story)"
  everything_is_reached
  all_once
}

test_reboot_of_the_server_leaves_the_worker_alone() {
  local before pages
  before=$(on worker running)
  load=$(on server 'ready_pods web' | sed -n 's/^worker //p')
  tell server 'systemctl reboot'
  went_down server 100
  # Nobody plans, and everything goes on.
  pages=$(for _ in 1 2 3 4 5 6 7 8; do fetch_from_outside 192.0.2.2 || true; done)
  holds "the worker's port without a server" "$pages" 'page of'
  holds "status of the worker" "$(on worker 'naru status' || true)" 'no server'
  switch_on server
  restarted server
  until_ok 180 on server 'api /readyz'
  until_ok 180 eval '[ "$(on server nodes)" = "server True worker True" ]'
  back_on_both
  same "what runs on the worker" "$before" "$(on worker running)"
  holds "the worker's web" "$(on server 'ready_pods web')" "worker $load"
  everything_is_reached
  all_once
}

test_power_cut_of_the_worker_is_bridged_and_it_returns() {
  local began before
  back_on_both
  before=$(story)
  on worker 'sync'
  cut_power worker
  began=$EPOCHREALTIME
  until_ok 90 eval '[ "$(on server "ready_on web")" = "server server" ]'
  report "NOTE power off to replacement ready: $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }") s, emulated"
  local status
  status=$(on server 'naru status' || true)
  echo "$status"
  holds "the status" "$status" 'node worker is not ready since'
  holds "the status" "$status" 'data .*is on node worker: what uses it waits'
  switch_on worker
  restarted worker
  until_ok 180 eval '[ "$(on server nodes)" = "server True worker True" ]'
  back_on_both
  same "the volume" "$before started" "$(story)"
  until_ok 60 status_says 'All is well'
  everything_is_reached
  all_once
}
