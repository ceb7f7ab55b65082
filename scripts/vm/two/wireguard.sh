# Encryption between nodes by the kernel of a distribution: this machine's may have none.

tests+=(
  encryption-between-nodes-is-the-kernels
)

test_encryption_between_nodes_is_the_kernels() {
  local name
  back_on_both
  on server 'annotate worker naru.io/network-mode "\"wireguard\""'
  for name in server worker; do
    until_ok 90 on "$name" 'ip -d link show naru-wg | grep -qw wireguard && ip route | grep -q "^10\.42\..*dev naru-wg"'
  done
  everything_is_reached
  for name in server worker; do
    on "$name" 'holds "the last handshake" "$(wg show naru-wg latest-handshakes | cut -f2)" "^[1-9][0-9]+"
      wg show naru-wg | grep -v private'
  done
  same "pages that can be read on the wire" 0 "$(asked_on_the_wire)"
  on server 'annotate worker naru.io/network-mode null'
  for name in server worker; do
    until_ok 60 on "$name" '! ip link show naru-wg'
  done
  everything_is_reached
}
