# No tests: a machine with Naru installed and the image loaded, to look around in.

after_tests() {
  "$disk/naru" install
  until api /readyz >/dev/null; do sleep 1; done
  naru image load -i "$disk/busybox.tar"
  report "STAGE ready"
}
