# After the power was cut while writers wrote. naru.acked=a,b,c on the kernel's command line is what each was told is safe.

tests=(
  the-cut-was-one
  every-acknowledged-object-is-there
  everything-is-back-after-the-cut
  writes-go-on
  uninstall-that-keeps-data-keeps-it-alone-and-install-brings-all-back
  uninstall-leaves-nothing
  forwarding-is-as-before
)

after_tests() {
  report "STAGE done"
  systemctl poweroff
}

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

everything_ended() { ! pgrep -a -f 'naru (supervisor|helper|server)|httpd -f|trap .exit 5'; }

test_uninstall_that_keeps_data_keeps_it_alone_and_install_brings_all_back() {
  local story
  story=$(project long exec -T keeper cat /data/story | tr '\n' ' ')
  timeout 300 naru uninstall --yes
  until_ok 30 everything_ended
  same "what is left" "file " "$(left_behind | tr '\n' ' ')"
  same "files" /var/lib/naru "$(find /run /var/lib /etc /tmp -xdev -name '*naru*' ! -name '*naru-test*' -prune)"
  naru install
  until_ok 120 api /readyz
  until_ok 180 healthy long web
  until_ok 120 state_is long 'keeper running 0'
  until_ok 60 fetch -o /dev/null http://127.0.0.1:8080/
  holds "the volume" "$(project long exec -T keeper cat /data/story | tr '\n' ' ')" "^$story(ended )?started \$"
  api /api/v1/namespaces/cut/configmaps/after -o /dev/null
}

test_uninstall_leaves_nothing() {
  same "forwarding before" 1 "$(cat /proc/sys/net/ipv4/ip_forward)"
  timeout 300 naru uninstall --volumes --yes
  until_ok 30 everything_ended
  same "what is left" "" "$(left_behind | tr '\n' ' ')"
}

test_forwarding_is_as_before() {
  same "forwarding" 0 "$(cat /proc/sys/net/ipv4/ip_forward)"
}
