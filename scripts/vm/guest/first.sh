# The first boot: installing, limits, the network, and a server that comes and goes.

tests=(
  +machine-is-as-users-have-it
  +install-makes-unit-and-group-and-starts
  unit-is-as-systemd-wants-it
  doctor-finds-nothing-in-the-way
  members-of-the-group-need-no-sudo
  +images-load
  +up-waits-until-all-is-healthy
  limits-are-in-the-cgroup
  limits-hold-when-systemd-looks-at-its-groups-again
  a-limit-of-memory-holds-where-there-is-swap
  supervisors-are-outside-of-their-pods-groups
  supervisors-and-the-helper-are-outside-of-the-units-group
  pods-start-confined-as-apparmor-asks
  +running-out-of-memory-is-named
  published-port-answers-on-this-machine
  published-port-answers-other-machines
  this-machine-does-not-become-a-router
  names-between-services
  works-beside-a-firewall-that-drops-forwarding
  works-beside-an-engine-whose-forwarding-policy-drops
  works-with-bridge-netfilter-on
  restart-of-the-unit-keeps-containers
  kill-of-the-server-keeps-containers-and-systemd-starts-it
  kill-of-everything-in-the-unit-keeps-containers
  a-stop-that-kills-everything-in-the-unit-keeps-containers
  a-server-that-dies-again-and-again-comes-back
  containers-go-on-while-the-unit-is-stopped
  +before-the-restart-of-the-machine
)

after_tests() {
  report "STAGE done"
  systemctl reboot
}

# neighbour NAME LINK NUMBER NETWORK: another machine, which is a namespace with a network card of its own; cards come in
# pairs that one cable joins.
neighbour() {
  local near far
  near=$(card "52:54:00:00:0$3:00")
  far=$(card "52:54:00:00:0$3:01")
  ip link set "$near" name "$2"
  ip address add "$4.1/24" dev "$2"
  ip link set "$2" up
  ip netns add "$1"
  ip link set "$far" netns "$1"
  ip -n "$1" link set "$far" name eth0
  ip -n "$1" address add "$4.2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" link set lo up
  ip -n "$1" route add default via "$4.1"
}
card() { ip -j link | jq -r --arg mac "$1" '.[] | select(.address == $mac) | .ifname'; }

test_machine_is_as_users_have_it() {
  neighbour elsewhere lan0 1 192.0.2
  neighbour third lan1 2 198.51.100
  same "the control groups" cgroup2fs "$(stat -f -c %T /sys/fs/cgroup)"
  same "forwarding before the server" 0 "$(cat /proc/sys/net/ipv4/ip_forward)"
  [ ! -e /proc/sys/net/bridge ] || fail "br_netfilter is loaded"
  same "AppArmor" Y "$(cat /sys/module/apparmor/parameters/enabled)"
}

test_install_makes_unit_and_group_and_starts() {
  "$disk/naru" install
  same "the unit" active "$(systemctl is-active naru)"
  same "the unit at boot" enabled "$(systemctl is-enabled naru)"
  getent group naru
  until_ok 120 api /readyz
  same "the unit's own process" "$(systemctl show -p MainPID --value naru)" "$(pgrep -f -x '/usr/local/bin/naru .*server')"
  # Again: nothing breaks.
  naru install
  until_ok 120 api /readyz
}

test_unit_is_as_systemd_wants_it() {
  local text
  text=$(systemd-analyze verify /etc/systemd/system/naru.service 2>&1) || fail "systemd-analyze verify: $text"
  lacks "systemd-analyze verify" "$text" 'naru'
  text=$(systemctl show -p After,KillMode,Restart,StartLimitIntervalUSec,OOMPolicy naru)
  for word in network-online.target time-sync.target firewalld.service ufw.service docker.service nftables.service \
    KillMode=process Restart=always StartLimitIntervalUSec=0 OOMPolicy=continue; do
    holds "the unit" "$text" "$word"
  done
}

test_doctor_finds_nothing_in_the_way() {
  local text
  text=$(naru doctor) || fail "naru doctor: $(grep -A1 FAIL <<<"$text" | tr '\n' ' ')"
  echo "$text"
  holds "naru doctor" "$text" 'control groups +version 2'
  ! grep -q '^FAIL' <<<"$text" || fail "naru doctor says FAIL"
}

test_members_of_the_group_need_no_sudo() {
  useradd -G naru member
  useradd other
  runuser -u member -- naru ls
  ! runuser -u other -- naru ls || fail "a user outside of the group was let in"
}

test_images_load() {
  naru image load -i "$disk/busybox.tar"
  naru image ls | grep -q naru.local/busybox
}

test_up_waits_until_all_is_healthy() {
  project long up -d --wait --wait-timeout 240
  until_ok 30 state_is long 'web running 0'
  until_ok 30 state_is long 'keeper running 0'
}

test_limits_are_in_the_cgroup() {
  local group
  group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(process_of 'httpd -f -p 80')/cgroup")
  holds "the group" "$group" 'pod-.*/web\.0$'
  same memory.max 67108864 "$(cat "$group/memory.max")"
  same memory.low-or-reservation 33554432 "$(cat "$group/memory.low" "$group/memory.high" 2>/dev/null | grep -x 33554432 | head -n1)"
  same pids.max 50 "$(cat "$group/pids.max")"
  same cpu.max "50000 100000" "$(cat "$group/cpu.max")"
  # They hold: a 51st process is refused. Not for as long as health tests, which are processes too, may fail.
  local text
  text=$(project long exec -T web sh -c 'for i in $(seq 60); do sleep 8 & done; wait' 2>&1) || true
  holds "sixty processes under a limit of fifty" "$text" 'fork|Resource temporarily unavailable'
  until_ok 90 eval '[ "$(cat '"$group"'/pids.current)" -lt 10 ]'
}

test_limits_hold_when_systemd_looks_at_its_groups_again() {
  # Our groups stand beside systemd's slices. It hands controllers down and takes them back as its own units need them;
  # ours must keep theirs.
  local group before
  group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(process_of 'httpd -f -p 80')/cgroup")
  limits() { cat "$group"/{memory.max,pids.max,cpu.max,cgroup.controllers}; }
  before=$(limits)
  systemctl daemon-reload
  systemd-run --quiet --wait -p CPUQuota=50% -p MemoryMax=64M -p TasksMax=5 -p IOWeight=50 -p AllowedCPUs=0 true
  systemctl daemon-reexec
  until_ok 60 systemctl is-active --quiet naru
  same "the limits" "$before" "$(limits)"
  api /readyz
}

test_a_limit_of_memory_holds_where_there_is_swap() {
  fallocate -l 128M /swap
  chmod 600 /swap
  mkswap -q /swap
  swapon /swap
  local group
  group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(process_of 'httpd -f -p 80')/cgroup")
  # As the kubelet has it: what is limited to 64 MiB has those, and none beside them on the disk.
  same "memory.swap.max" 0 "$(cat "$group/memory.swap.max")"
  naru doctor
}

test_supervisors_are_outside_of_their_pods_groups() {
  local parent group
  # The server is protected from the memory killer; what it starts for users must not be.
  [ "$(cat "/proc/$(process_of 'httpd -f -p 80')/oom_score_adj")" -ge 0 ] || fail "the memory killer would spare the container"
  parent=$(process_of 'naru supervisor')
  group=$(sed -n 's/^0:://p' "/proc/$parent/cgroup")
  ! grep -q 'pod-' <<<"$group" || fail "a supervisor is in $group"
}

test_supervisors_and_the_helper_are_outside_of_the_units_group() {
  # What it runs for a moment is there, too.
  until_ok 30 eval '[ "$(of_the_unit)" = "$(systemctl show -p MainPID --value naru)" ]'
  same "what is beside" "naru helper,naru supervisor" "$(ours_beside)"
}

test_pods_start_confined_as_apparmor_asks() {
  # No profile is asked for: unconfined, and nothing was denied.
  holds "the label of a container" "$(cat "/proc/$(process_of 'httpd -f -p 80')/attr/current")" 'unconfined|naru|docker'
  ! journalctl -k --no-pager | grep -i 'apparmor="DENIED"' || fail "AppArmor denied something"
}

test_running_out_of_memory_is_named() {
  project ends up -d || true
  until_ok 120 state_is ends 'hungry exited 137'
  same "the reason" '"OOMKilled"' "$(pod hungry '.status.containerStatuses[0] | (.state.terminated // .lastState.terminated).reason')"
  holds "naru ps" "$(project ends ps -a)" 'out of memory|OOM'
  until_ok 60 state_is ends 'done exited 7'
}

test_published_port_answers_on_this_machine() {
  same "127.0.0.1:8080" "hello from web" "$(fetch http://127.0.0.1:8080/)"
  same "localhost:8080" "hello from web" "$(fetch http://localhost:8080/)"
  same "[::1]:8080" "hello from web" "$(fetch 'http://[::1]:8080/')"
  same "10.0.2.15:8080" "hello from web" "$(fetch http://10.0.2.15:8080/)"
}

test_published_port_answers_other_machines() {
  same "from another machine" "hello from web" "$(ip netns exec elsewhere curl -sS -f --max-time 10 http://192.0.2.1:8080/)"
}

test_this_machine_does_not_become_a_router() {
  # Forwarding was off before Naru: what is neither from nor to a pod must not pass now that it is on.
  same "forwarding" 1 "$(cat /proc/sys/net/ipv4/ip_forward)"
  ip netns exec elsewhere busybox ping -c 1 -W 5 192.0.2.1
  ! ip netns exec elsewhere busybox ping -c 1 -W 3 198.51.100.2 || fail "packets pass between two links that were there before"
  # And that it is our guard that holds them.
  local guard
  guard=$(nft list ruleset)
  holds "the rules" "$guard" 'lan0'
}

test_names_between_services() {
  same "web by name" "hello from web" "$(project long exec -T keeper wget -q -O- http://web/)"
  same "web by its long name" "hello from web" "$(project long exec -T keeper wget -q -O- http://web.long.svc.cluster.local/)"
  ! project long exec -T keeper nslookup nobody.long.svc.cluster.local. || fail "a name that does not exist resolved"
}

test_works_beside_a_firewall_that_drops_forwarding() {
  # As Docker and ufw leave it: another table with a policy of drop.
  nft add table inet strict
  nft 'add chain inet strict forward { type filter hook forward priority filter; policy drop; }'
  local text
  text=$(naru doctor || true)
  nft delete table inet strict
  holds "naru doctor beside a dropping table" "$text" 'strict'
}

test_works_beside_an_engine_whose_forwarding_policy_drops() {
  # As a Docker engine leaves it: the policy drops, and a chain of its own asks the administrator first.
  iptables -P FORWARD DROP
  iptables -N DOCKER-USER
  iptables -A DOCKER-USER -j RETURN
  iptables -A FORWARD -j DOCKER-USER
  systemctl restart naru
  until_ok 120 api /readyz
  until_ok 30 ip netns exec elsewhere curl -sS -f -o /dev/null --max-time 5 http://192.0.2.1:8080/
  same "between pods" "hello from web" "$(project long exec -T keeper wget -q -O- http://web/)"
}

test_works_with_bridge_netfilter_on() {
  modprobe br_netfilter
  same "bridge netfilter" 1 "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables)"
  same "from another machine" "hello from web" "$(ip netns exec elsewhere curl -sS -f --max-time 10 http://192.0.2.1:8080/)"
  same "between pods" "hello from web" "$(project long exec -T keeper wget -q -O- http://web/)"
}

test_restart_of_the_unit_keeps_containers() {
  local before
  before=$(running)
  holds "what runs" "$before" httpd
  systemctl restart naru
  until_ok 120 api /readyz
  same "after systemctl restart" "$before" "$(running)"
  until_ok 60 state_is long 'web running 0'
  same "the port" "hello from web" "$(fetch http://127.0.0.1:8080/)"
}

test_kill_of_the_server_keeps_containers_and_systemd_starts_it() {
  local before server
  before=$(running)
  server=$(systemctl show -p MainPID --value naru)
  kill -9 "$server"
  same "the port without a server" "hello from web" "$(fetch http://127.0.0.1:8080/)"
  until_ok 60 test "$(systemctl show -p MainPID --value naru)" != "$server"
  until_ok 120 api /readyz
  same "after kill -9" "$before" "$(running)"
  until_ok 60 state_is long 'web running 0'
}

test_kill_of_everything_in_the_unit_keeps_containers() {
  local before
  before=$(running)
  killed_with_everything
  same "after systemctl kill" "$before" "$(running)"
  until_ok 60 state_is long 'web running 0'
  same "the port" "hello from web" "$(fetch http://127.0.0.1:8080/)"
}

test_a_stop_that_kills_everything_in_the_unit_keeps_containers() {
  # As a unit that somebody else wrote, or what is in the unit's group when memory runs out.
  local before
  before=$(running)
  mkdir -p /run/systemd/system/naru.service.d
  printf '[Service]\nKillMode=control-group\nOOMPolicy=kill\n' >/run/systemd/system/naru.service.d/all.conf
  systemctl daemon-reload
  systemctl restart naru
  until_ok 120 api /readyz
  same "after a restart with KillMode=control-group" "$before" "$(running)"
  rm /run/systemd/system/naru.service.d/all.conf
  systemctl daemon-reload
  same "the port" "hello from web" "$(fetch http://127.0.0.1:8080/)"
  lacks "systemd's words" "$(journalctl -u naru --no-pager -o cat)" 'left-over process|remains running after unit stopped'
}

test_a_server_that_dies_again_and_again_comes_back() {
  # systemd gives up after five starts within ten seconds where a unit does not say otherwise.
  local before server
  before=$(running)
  for _ in 1 2 3 4 5 6 7; do
    server=$(systemctl show -p MainPID --value naru)
    [ "$server" = 0 ] || kill -9 "$server"
    until_ok 30 eval '[ "$(systemctl show -p MainPID --value naru)" != '"$server"' ] && [ "$(systemctl show -p MainPID --value naru)" != 0 ]'
  done
  until_ok 120 api /readyz
  same "after seven deaths" "$before" "$(running)"
}

test_containers_go_on_while_the_unit_is_stopped() {
  local before
  before=$(running)
  systemctl stop naru
  same "the unit" inactive "$(systemctl is-active naru)"
  same "while stopped" "$before" "$(running)"
  same "the port" "hello from web" "$(fetch http://127.0.0.1:8080/)"
  # What ends meanwhile is accounted for afterwards.
  local web
  web=$(process_of 'httpd -f -p 80')
  kill -9 "$web"
  systemctl start naru
  until_ok 120 api /readyz
  until_ok 120 fetch -o /dev/null http://127.0.0.1:8080/
  same "the exit code of what ended meanwhile" 137 "$(pod web '.status.containerStatuses[0].lastState.terminated.exitCode')"
}

test_before_the_restart_of_the_machine() {
  project ends stop stopped always
  until_ok 60 state_is ends 'stopped exited 5'
  containers ends | tee /var/lib/naru-test.ends
  containers long >/var/lib/naru-test.long
  pod web .metadata.name >/var/lib/naru-test.pod
}
