# One machine, booted three times: `first` installs and restarts it, `second` looks whether all came back and writes until
# QEMU is killed, `third` looks what outlived that and uninstalls.

nics_of_one=(
  -nic user,restrict=on,model=virtio-net-pci,mac=52:54:00:00:00:01
  -netdev hubport,hubid=1,id=lan0 -device virtio-net-pci,netdev=lan0,mac=52:54:00:00:01:00,romfile=
  -netdev hubport,hubid=1,id=far0 -device virtio-net-pci,netdev=far0,mac=52:54:00:00:01:01,romfile=
  -netdev hubport,hubid=2,id=lan1 -device virtio-net-pci,netdev=lan1,mac=52:54:00:00:02:00,romfile=
  -netdev hubport,hubid=2,id=far1 -device virtio-net-pci,netdev=far1,mac=52:54:00:00:02:01,romfile=
)

# names_of STAGE: its tests, one a line.
names_of() { (. "$here/vm/guest/$1.sh" && printf '%s\n' "${tests[@]}"); }
names_of_one() { for stage in first second third; do names_of $stage; done; }
# Whether a filter wants something of a stage, or of a later one.
reaches() { [ -z "$filter" ] || for stage; do names_of "$stage"; done | grep -v '^+' | grep -qE -e "$filter"; }

shell_of_one() {
  boot one shell '' "${nics_of_one[@]}"
  say "a root shell: socat -,raw,echo=0 unix-connect:$work/one.shell"
  while runs one; do sleep 1; done
}

scenario_one() {
  say "one machine, boot 1: install, limits, network, restarts of the server"
  boot one first '' "${nics_of_one[@]}"
  follow one first 1500 'STAGE done' || return 0
  reaches second third || return 0
  # A grace period of ten seconds and the emulator's slowness; systemd itself waits 90 s for what does not end.
  ended one 50 machine-restarts-in-the-grace-period || return 0

  say "one machine, boot 2: everything back, then a power cut"
  boot one second '' "${nics_of_one[@]}"
  follow one second 900 'STAGE writing' || return 0
  reaches third || return 0
  local deadline=$((SECONDS + 120 * slow))
  until [ "$(grep -c '^ACK' "$results")" -ge 150 ] || [ $SECONDS -ge $deadline ] || ! runs one; do
    sleep 0.05
  done
  cut_power one
  # Only whole lines count: the cut may have gone through the last one.
  local acked='' writer count
  for writer in 1 2 3; do
    count=$(tr -d '\r' <"$results" | sed -n '$!p' | sed -n "s/^ACK $writer \([0-9]*\)$/\1/p" | tail -n 1)
    acked=$acked${acked:+,}${count:-0}
  done
  say "the power was cut after $(grep -c '^ACK' "$results") acknowledged writes"
  if [ "$acked" = 0,0,0 ]; then
    tap "TEST FAIL second: nothing was written before the power cut"
    return 0
  fi

  say "one machine, boot 3: after the cut; uninstall"
  boot one third "naru.acked=$acked" "${nics_of_one[@]}"
  follow one third 900 'STAGE done' || return 0
  ended one 60 machine-goes-down || return 0
}
