# After the power was cut while writers wrote. naru.acked=a,b,c on the kernel's command line is what each was told is safe.

acked=$(sed -n 's/.*naru.acked=\([0-9,]*\).*/\1/p' /proc/cmdline)

test_the_cut_was_one() {
  # A file that was written and never flushed must be gone, else this machine proves nothing.
  [ ! -s /var/lib/naru-test.witness ] || fail "an unflushed file outlived the cut"
}

test_every_acknowledged_object_is_there() {
  until_ok 180 api /readyz
  local found lost writer=0 count
  found=$(api /api/v1/namespaces/cut/configmaps | jq -r '.items[] | select(.data.number == (.metadata.name | split("-")[1])) | .metadata.name' | sort)
  lost=$(for count in ${acked//,/ }; do
    writer=$((writer + 1))
    seq -f "w$writer-%g" "$count"
  done | sort | comm -23 - <(echo "$found"))
  [ -z "$lost" ] || fail "acknowledged ($acked) and gone: $(tr '\n' ' ' <<<"$lost" | cut -c1-200); there are $(wc -l <<<"$found")"
  report "NOTE acknowledged $acked; there: $(wc -l <<<"$found")"
}

test_everything_is_back_after_the_cut() {
  until_ok 180 healthy long web
  until_ok 180 fetch -o /dev/null http://127.0.0.1:8080/
  until_ok 120 state_is long 'keeper running 0'
  until_ok 120 state_is ends 'resumes running 0'
  holds "the volume" "$(project long exec -T keeper cat /data/story | tr '\n' ' ')" '^started .*started .*started $'
  holds "done" "$(containers ends)" '^done exited 7$'
}

test_writes_go_on() {
  api /api/v1/namespaces/cut/configmaps -X POST -H 'content-type: application/json' -o /dev/null \
    -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"after"},"data":{"number":"after"}}'
  api /api/v1/namespaces/cut/configmaps/after -o /dev/null
}

test_uninstall_leaves_nothing() {
  same "forwarding before" 1 "$(cat /proc/sys/net/ipv4/ip_forward)"
  timeout 300 naru uninstall --volumes --yes
  local left=''
  ! systemctl cat naru >/dev/null 2>&1 || left="$left unit"
  ! iptables-save 2>/dev/null | grep -i naru || left="$left iptables-rule"
  [ ! -e /etc/systemd/system/naru.service ] || left="$left unit-file"
  until_ok 30 eval '! pgrep -f "naru (supervisor|helper|server)|httpd -f|trap .exit 5"'
  ! ip -o link | grep -E 'naru' || left="$left link"
  ! nft list tables | grep naru || left="$left nft"
  ! nft list ruleset | grep -i naru || left="$left rule"
  ! ip rule | grep -i naru || left="$left ip-rule"
  ! ip route show table all | grep -E '10\.4[23]\.' || left="$left route"
  ! grep -E 'naru|10\.4[23]\.' /proc/self/mounts || left="$left mount"
  ! find /sys/fs/cgroup -type d -name '*naru*' ! -name 'naru-test*' | grep . || left="$left cgroup"
  ! find /sys/fs/cgroup -type d -name 'pod-*' | grep . || left="$left pod-cgroup"
  for path in /var/lib/naru /run/naru /etc/systemd/system/multi-user.target.wants/naru.service; do
    [ ! -e "$path" ] || left="$left $path"
  done
  ! find /run /var/lib /etc /tmp -xdev -name '*naru*' ! -name '*naru-test*' | grep . || left="$left file"
  ! ip netns | grep -v -E '^(elsewhere|third)' | grep . || left="$left netns"
  [ -z "$left" ] || fail "left:$left"
}

test_forwarding_is_as_before() {
  same "forwarding" 0 "$(cat /proc/sys/net/ipv4/ip_forward)"
}

for name in the-cut-was-one every-acknowledged-object-is-there everything-is-back-after-the-cut writes-go-on \
  uninstall-leaves-nothing forwarding-is-as-before; do
  run_test "$name"
done
report "STAGE done"
systemctl poweroff
