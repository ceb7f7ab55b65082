# From two machines to a cluster. The worker joins before it knows systemd, and is installed then.

tests+=(
  +machines-are-as-users-have-them
  +install-starts-the-server
  join-with-a-clock-an-hour-off-is-refused
  +join-without-a-unit-and-install-takes-it-over
  +containers-run-on-both
)

test_machines_are_as_users_have_them() {
  local name other
  for name in server worker; do
    other=2
    [ "$name" = server ] || other=1
    on "$name" "same 'the control groups' cgroup2fs \$(stat -f -c %T /sys/fs/cgroup); same 'the name' $name \$(uname -n)
      busybox ping -c 1 -W 10 192.0.2.$other && modinfo wireguard | grep ^filename"
  done
}

test_install_starts_the_server() {
  on server '"$disk/naru" install && until_ok 120 api /readyz && naru image load -i "$disk/busybox.tar"'
  on server 'naru token create 2>/dev/null' | sed -n 's/^naru join //p' >"$scratch.token"
  holds "the token" "$(cat "$scratch.token")" '^NARU1\.'
}

join() { on worker "\"\$disk/naru\" join $(cat "$scratch.token")"; }

test_join_with_a_clock_an_hour_off_is_refused() {
  local text
  on worker 'date -s "+1 hour"'
  ! text=$(join) || fail "a machine whose clock is ahead joined"
  echo "$text"
  holds "ahead" "$text" 'clock is (59|60|61) minutes ahead of the server'
  on worker 'date -s "-2 hours"'
  ! text=$(join) || fail "a machine whose clock is behind joined"
  echo "$text"
  # Where the server's certificate is younger than an hour, that is what is found first.
  holds "behind" "$text" 'clock is (59|60|61) minutes behind|not valid at this machine.s time, which is [0-9]{4}-'
  on worker 'date -s "+1 hour"; [ ! -e /var/lib/naru/node ] && ! pgrep -f "naru.* agent" && ! ip link show naru-dns'
  same "the nodes" "server True" "$(on server nodes)"
}

test_join_without_a_unit_and_install_takes_it_over() {
  local began=$EPOCHREALTIME text
  text=$(join)
  report "NOTE join to Ready: $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }") s, emulated"
  holds "naru join" "$text" 'Node worker is ready \(192\.0\.2\.2\)'
  until_ok 30 eval '[ "$(on server nodes)" = "server True worker True" ]'
  text=$(on worker '"$disk/naru" install')
  echo "$text"
  holds "naru install" "$text" 'in place of the worker'
  on worker 'same "the unit" "active enabled" "$(systemctl is-active naru) $(systemctl is-enabled naru)"
    same "agents" 1 "$(agents)"
    holds "the process" "$(tr "\0" " " </proc/$(systemctl show -p MainPID --value naru)/cmdline)" "^/usr/local/bin/naru .*agent"
    holds "again" "$(naru install)" "nothing changed"
    naru doctor'
  until_ok 60 eval '[ "$(on server nodes)" = "server True worker True" ]'
}

test_containers_run_on_both() {
  # The worker has no image yet: it comes from the server.
  on server 'project pair up -d --wait --wait-timeout 240'
  until_ok 60 eval '[ "$(on server "ready_on web")" = "server worker" ]'
  same "the counter" worker "$(on server 'ready_on counter')"
  holds "images of the worker" "$(on worker 'naru image ls')" 'naru.local/busybox'
}
