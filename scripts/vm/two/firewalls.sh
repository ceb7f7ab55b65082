# Other people's firewalls on a node.

tests+=(
  ufw-that-denies-lets-pods-pass
  firewalld-lets-pods-pass-once-its-advice-is-followed
  a-table-that-drops-lets-pods-pass-once-its-advice-is-followed
)

# follow_advice NAME: what `naru doctor` there says about firewalls, done
follow_advice() {
  on "$1" 'naru doctor --format json | jq -r ".findings[] | select(.check == \"other firewalls\") | .mend" | sed "s/^run: //" >/run/naru-test.advice
    cat /run/naru-test.advice
    grep -q . /run/naru-test.advice || fail "the doctor says nothing"
    bash -e /run/naru-test.advice'
}

obstacles_of() { on "$1" 'naru doctor --format json | jq -r ".findings[] | select(.check == \"other firewalls\" and .level != \"ok\") | .found"'; }

# clean_after COMMANDS: done on both when the test ends, however it does
clean_after() { trap "on server '$1' || true; on worker '$1' || true" EXIT; }

test_ufw_that_denies_lets_pods_pass() {
  clean_after "ufw --force disable"
  on worker 'ufw default deny incoming && ufw default deny routed && ufw logging off && ufw --force enable
    holds "ufw" "$(ufw status verbose)" "deny .incoming., allow .outgoing., deny .routed."'
  until_ok 60 eval '[ -z "$(obstacles_of worker)" ]'
  everything_is_reached
  # What is not Naru'\''s stays closed.
  on worker 'busybox nc -l -p 7777 -e true & echo $! >/run/naru-test.nc'
  ! outside timeout 3 bash -c '</dev/tcp/192.0.2.2/7777' || fail "a port of the machine is open in spite of ufw"
  # The tunnel's packets are for the machine itself.
  on server 'annotate worker naru.io/network-mode "\"vxlan\""'
  until_ok 60 on worker 'ip link show naru-vx'
  everything_is_reached
  # And after its own reload, which makes its chains anew.
  on worker 'ufw reload'
  everything_is_reached
  on server 'annotate worker naru.io/network-mode null'
  on worker 'kill "$(cat /run/naru-test.nc)" 2>/dev/null; ufw --force disable'
  until_ok 60 on worker '! ip link show naru-vx'
}

test_firewalld_lets_pods_pass_once_its_advice_is_followed() {
  clean_after "systemctl stop firewalld"
  # The server's port is for its user to open, as the page on clusters says.
  on server 'systemctl start firewalld && firewall-cmd --permanent --add-port=6443/tcp && firewall-cmd --reload'
  holds "the doctor" "$(obstacles_of server)" firewalld
  follow_advice server
  same "what is still in the way" "" "$(obstacles_of server)"
  everything_is_reached
  same "the nodes" "server True worker True" "$(on server nodes)"
}

test_a_table_that_drops_lets_pods_pass_once_its_advice_is_followed() {
  clean_after "nft delete table inet strict"
  on worker 'nft -f - <<END
table inet strict {
  chain input { type filter hook input priority filter; policy drop; ct state established,related accept; iif lo accept; icmp type echo-request accept; }
  chain forward { type filter hook forward priority filter; policy drop; ct state established,related accept; }
}
END'
  holds "the doctor" "$(obstacles_of worker)" 'inet strict'
  follow_advice worker
  same "what is still in the way" "" "$(obstacles_of worker)"
  everything_is_reached
}
