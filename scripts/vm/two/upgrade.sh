# Another program on both machines, under units of systemd.

tests+=(
  upgrade-under-load-keeps-units-and-containers
)

# containers_of NAME: with their supervisors, which stay the same processes with another program and other words.
containers_of() { on "$1" 'running | grep -v "naru helper" | sed "s/ --take-over [0-9]*//"'; }
main_process() { on "$1" 'systemctl show -p MainPID --value naru'; }

test_upgrade_under_load_keeps_units_and_containers() {
  on server 'naru upgrade --help' >/dev/null || skip_test "this program knows no upgrade"
  back_on_both
  patient upgrade_under_load
}

upgrade_under_load() {
  local name text digest
  declare -A before process
  for name in server worker; do
    before[$name]=$(containers_of "$name")
    process[$name]=$(main_process "$name")
  done
  # The same program, and yet another file.
  digest=$(on server 'cp /usr/local/bin/naru /root/next && echo >>/root/next && sha256sum </root/next')
  load_begins
  text=$(on server '/root/next upgrade --yes --timeout 5m') || { load_ends; fail "naru upgrade: $text"; }
  echo "$text"
  until_ok 120 eval '[ "$(on server nodes)" = "server True worker True" ]'
  load_ends
  for name in server worker; do
    same "the program of $name" "$digest" "$(on "$name" 'sha256sum </usr/local/bin/naru')"
    same "what $name runs" "$digest" "$(on "$name" "sha256sum </proc/$(main_process "$name")/exe")"
    same "containers of $name" "${before[$name]}" "$(containers_of "$name")"
    same "the unit's process on $name" "${process[$name]}" "$(main_process "$name")"
    on "$name" 'systemctl is-active naru; same "agents" 1 "$(agents)"'
  done
  every_line_logged
  everything_is_reached
}
