# The end: nothing is left, on either machine and of the worker in the cluster.

tests+=(
  uninstall-on-the-worker-leaves-nothing
  uninstall-on-the-server-leaves-nothing
)

test_uninstall_on_the_worker_leaves_nothing() {
  on worker 'same "forwarding" 1 "$(cat /proc/sys/net/ipv4/ip_forward)"
    timeout 300 naru uninstall --volumes --yes
    same "what is left" "" "$(left_behind | tr "\n" " ")"
    same "forwarding" 0 "$(cat /proc/sys/net/ipv4/ip_forward)"'
  same "the nodes" "server True" "$(on server nodes)"
  until_ok 60 on server '! ip route | grep "^10\.42\.1\."'
  until_ok 120 eval '[ "$(on server "ready_on web")" = "server server" ]'
}

test_uninstall_on_the_server_leaves_nothing() {
  on server 'timeout 300 naru uninstall --volumes --yes
    same "what is left" "" "$(left_behind | tr "\n" " ")"'
}
