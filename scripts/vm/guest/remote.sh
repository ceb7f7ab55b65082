# One of several machines: does what scripts/vm/remote.sh asks over a port of its own, and answers there. A question is a
# line `number script`, an answer `number code output`; script and output are base64.

answer() {
  local code=0
  base64 -d <<<"$2" >/run/naru-test.script
  # A shell of its own each, with the words of the tests; it must not hold the port.
  timeout 600 bash -c '. "$1/guest/lib.sh"; . /run/naru-test.script' bash "$disk" \
    >/run/naru-test.said 2>&1 </dev/null 3>&- || code=$?
  printf '%s %s %s\n' "$1" "$code" "$(base64 -w0 /run/naru-test.said)" >&3
}

after_tests() {
  export disk
  until [ -e /dev/virtio-ports/tests ]; do sleep 0.1; done
  exec 3<>/dev/virtio-ports/tests
  report "STAGE ready"
  while :; do
    if read -r -u 3 number script; then answer "$number" "$script"; else sleep 0.1; fi
  done
}
