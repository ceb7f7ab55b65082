# After a restart of the machine: everything is there again by itself. Then writes, until the power is cut.

tests=(
  +server-starts-with-the-machine
  everything-is-back
  volume-kept-its-content
  containers-had-their-stop-signal-before-the-machine-went
  restart-policies-meet-the-restart
  exit-codes-are-known
  nothing-of-the-boot-before-is-left
)

# Writers, until the power is cut.
after_tests() {
  # Nothing reaches the disk by itself any more: only what is flushed outlives the cut. The witness is not.
  sync
  echo 0 >/proc/sys/vm/dirty_writeback_centisecs
  echo 1000000 >/proc/sys/vm/dirty_expire_centisecs
  api /api/v1/namespaces -X POST -H 'content-type: application/json' \
    -d '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"cut"}}' >/dev/null
  write() {
    local number=1 name
    while :; do
      name=w$1-$number
      api /api/v1/namespaces/cut/configmaps -X POST -H 'content-type: application/json' -o /dev/null \
        -d "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"$name\"},\"data\":{\"number\":\"$number\"}}" || break
      report "ACK $1 $number"
      number=$((number + 1))
    done
  }
  echo "not flushed" >/var/lib/naru-test.witness
  report "STAGE writing"
  for writer in 1 2 3; do write $writer & done
  wait
  report "NOTE the writers ended before the power was cut"
}

test_server_starts_with_the_machine() {
  until_ok 180 api /readyz
  same "the unit" active "$(systemctl is-active naru)"
}

test_everything_is_back() {
  until_ok 180 healthy long web
  until_ok 30 fetch -o /dev/null http://127.0.0.1:8080/
  same "the port" "hello from web" "$(fetch http://127.0.0.1:8080/)"
  until_ok 120 state_is long 'keeper running 0'
  same "the containers' names and states" "$(cat /var/lib/naru-test.long)" "$(containers long)"
  same "the pod's name" "$(cat /var/lib/naru-test.pod)" "$(pod web .metadata.name)"
  same "web by name" "hello from web" "$(project long exec -T keeper wget -q -O- http://web/)"
}

test_volume_kept_its_content() {
  local story
  story=$(project long exec -T keeper cat /data/story | tr '\n' ' ')
  report "NOTE the volume's story: $story"
  holds "the volume" "$story" '^started .*started $'
}

test_containers_had_their_stop_signal_before_the_machine_went() {
  local story
  story=$(project long exec -T keeper cat /data/story | tr '\n' ' ')
  holds "the volume" "$story" '^started ended started $'
}

test_restart_policies_meet_the_restart() {
  until_ok 120 state_is ends 'resumes running 0'
  local now
  now=$(containers ends)
  echo "$now"
  # As Docker does it: what was stopped by hand comes back only with `always`; what never restarts does not.
  holds "done" "$now" '^done exited 7$'
  holds "hungry" "$now" '^hungry exited 137$'
  holds "stopped by hand, unless-stopped" "$now" '^stopped exited 5$'
  holds "ran, restart no" "$now" '^never exited [0-9]+$'
  holds "stopped by hand, always" "$now" '^always (running 0|exited 5)$'
  report "NOTE after the restart: $(tr '\n' ';' <<<"$now")"
  sleep 5
  same "and it stays so" "$now" "$(containers ends)"
}

test_exit_codes_are_known() {
  same "never's exit" 5 "$(pod never '.status.containerStatuses[0].state.terminated.exitCode')"
  same "done's exit" 7 "$(pod 'done' '.status.containerStatuses[0].state.terminated.exitCode')"
}

test_nothing_of_the_boot_before_is_left() {
  # One supervisor a pod, one link a running pod.
  local pods supervisors
  pods=$(api /api/v1/pods | jq '[.items[] | select(.status.phase == "Running" or .status.phase == "Pending")] | length')
  supervisors=$(pgrep -c -f 'naru supervisor')
  [ "$supervisors" -le "$pods" ] || fail "$supervisors supervisors for $pods pods"
  ! journalctl -u naru --no-pager | grep -E 'panicked' || fail "the server panicked"
}
