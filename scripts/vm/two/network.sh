# Pods of two machines.

tests+=(
  pods-reach-one-another-by-plain-routes
  pods-reach-one-another-through-vxlan
  names-of-the-world-come-through-a-stub-resolver
)

# everything_is_reached: pods, names, and the published port on both machines, wherever its containers are
everything_is_reached() {
  until_ok 60 on server every_pod_reached
  local address pages
  for address in 192.0.2.1 192.0.2.2; do
    until_ok 60 fetch_from_outside "$address"
    pages=$(for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do fetch_from_outside "$address" || true; done | sort -u)
    same "pages through $address" 2 "$(grep -c 'page of' <<<"$pages")"
  done
}

fetch_from_outside() { outside curl -sS -f --max-time 5 "http://$1:8080/"; }

# asked_on_the_wire: how many packets on it show a page that crossed from machine to machine
asked_on_the_wire() {
  local address before
  address=$(on server 'ready_pods web' | sed -n 's/^worker .* //p')
  before=$(wire_at server)
  on server "for _ in 1 2 3 4 5; do asked_from on-server http://$address/; done" >/dev/null
  on_the_wire server "$before" plain-as-day
}

test_pods_reach_one_another_by_plain_routes() {
  holds "the way to the worker" "$(on server 'ip route show 10.42.1.0/24')" 'via 192\.0\.2\.2 dev e'
  on worker '! ip link show naru-vx'
  everything_is_reached
  local seen
  seen=$(asked_on_the_wire)
  [ "$seen" -gt 0 ] || fail "what crosses the wire cannot be seen: later tests of encryption would prove nothing"
}

test_pods_reach_one_another_through_vxlan() {
  on server 'annotate worker naru.io/network-mode "\"vxlan\""'
  local name
  for name in server worker; do
    until_ok 60 on "$name" 'ip -d link show naru-vx | grep -q "vxlan id 4242" && ip route | grep -q "^10\.42\..*dev naru-vx"'
  done
  everything_is_reached
  on server 'annotate worker naru.io/network-mode null'
  for name in server worker; do
    until_ok 60 on "$name" '! ip link show naru-vx'
  done
  everything_is_reached
}

test_names_of_the_world_come_through_a_stub_resolver() {
  # The server's resolver stands for the world's; the worker asks its own on 127.0.0.53, as Debian and Ubuntu set it up.
  on server 'mkdir -p /etc/systemd/resolved.conf.d
    echo "192.0.2.200 far.example.test" >>/etc/hosts
    printf "[Resolve]\nDNSStubListenerExtra=192.0.2.1\n" >/etc/systemd/resolved.conf.d/test.conf
    systemctl start systemd-resolved'
  on worker 'mkdir -p /etc/systemd/resolved.conf.d
    printf "[Resolve]\nDNS=192.0.2.1\nDNSSEC=no\n" >/etc/systemd/resolved.conf.d/test.conf
    systemctl start systemd-resolved
    ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    grep "^nameserver 127.0.0.53" /etc/resolv.conf
    until_ok 30 getent hosts far.example.test'
  until_ok 60 on server 'project pair exec -T on-worker nslookup far.example.test. | grep 192.0.2.200'
  on server 'asked_from on-worker http://web/ | grep "page of"'
}
