# A clock that goes wrong after the machine joined.

tests+=(
  a-clock-that-drifts-is-told-and-nothing-stops
)

status_says() { grep -qE -e "$1" <<<"$(on server 'naru status' || true)"; }

test_a_clock_that_drifts_is_told_and_nothing_stops() {
  local way figure
  # Whatever happens, the tests that follow need a right one.
  trap 'on worker "date -s @$(date +%s)" || true' EXIT
  for way in ahead behind; do
    if [ $way = ahead ]; then figure='+1 hour'; else figure='-2 hours'; fi
    on worker "date -s '$figure'"
    until_ok 60 status_says "clock of node worker is (59|60|61) minutes $way"
    holds "status there" "$(on worker 'naru status' || true)" "clock is (59|60|61) minutes $way"
    same "the nodes" "server True worker True" "$(on server nodes)"
    everything_is_reached
    # New work and a new connection too.
    on worker 'systemctl restart naru && until_ok 60 api /readyz'
    until_ok 60 eval '[ "$(on server nodes)" = "server True worker True" ]'
    on server 'project pair restart counter'
    until_ok 60 eval '[ "$(on server "ready_on counter")" = worker ]'
    # Emulated, the restart may have taken longer than the cluster waits for a node.
    back_on_both
  done
  on worker 'date -s "+1 hour"'
  until_ok 60 status_says 'All is well'
}
