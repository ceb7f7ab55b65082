# Two machines on one wire, a server and a worker. The tests are in two/*.sh, in this order, and build on one another:
# those with a plus are needed by all.
. "$here/vm/remote.sh"
scratch=$work/two
tests=()
for part in join network units upgrade firewalls wireguard clock power leave; do
  . "$here/vm/two/$part.sh"
done

report() { tap "$1"; }

aftermath() {
  local name
  for name in server worker; do
    ! runs "$name" || on "$name" 'journalctl -u naru -n 12 --no-pager -o cat | cut -c1-300' | sed "s/^/#   $name: /" || true
  done
}

names_of_two() { printf '%s\n' "${tests[@]}"; }

scenario_two() {
  say "two machines: a server and a worker"
  put_up_wire
  switch_on server
  switch_on worker
  { ready server && ready worker; } || return 0
  run_tests "${tests[@]}"
}

# Two machines that have joined, and run what tests need; until Ctrl-C.
shells_of_two() {
  filter='^$'
  scenario_two
  say "root shells: socat -,raw,echo=0 unix-connect:$work/server.shell, or worker.shell"
  while runs server || runs worker; do sleep 1; done
}
