# Asking the machines of two.sh: a port of their own (guest/remote.sh), and the wire between them, which is a bridge in a
# network namespace where this machine is 192.0.2.254. Everything on the wire is written to <name>.pcap.
net=naru-vm-$$

put_up_wire() {
  ip netns add "$net"
  ip -n "$net" link set lo up
  ip -n "$net" link add wire type bridge
  ip -n "$net" address add 192.0.2.254/24 dev wire
  ip -n "$net" link set wire up
  local name
  for name in server worker; do
    ip -n "$net" tuntap add "$name" mode tap
    ip -n "$net" link set "$name" master wire
    ip -n "$net" link set "$name" up
  done
}

take_down_wire() { ip netns del "$net" 2>/dev/null || true; }

# outside COMMAND…: on a machine of nobody's on the same wire.
outside() { ip netns exec "$net" "$@"; }

# switch_on NAME [WORDS]: boots one of the two; `ready NAME` waits until it answers.
switch_on() {
  local name=$1 number=01
  [ "$name" = server ] || number=02
  rm -f "$work/$name".{in,out,pcap}
  mkfifo "$work/$name.in" "$work/$name.out"
  inside="ip netns exec $net" memory=1280 boot "$name" remote "${2:-}" \
    -netdev "tap,id=wire,ifname=$name,script=no,downscript=no" \
    -device "virtio-net-pci,netdev=wire,mac=52:54:00:00:0a:$number,romfile=" \
    -object "filter-dump,id=dump,netdev=wire,file=$work/$name.pcap" \
    -device virtio-serial-pci -chardev "pipe,id=asked,path=$work/$name" -device virtserialport,chardev=asked,name=tests
}

# ready NAME: waits until it answers; restarted NAME: the same, within a test.
ready() { follow "$1" remote 600 'STAGE ready'; }
restarted() {
  until_ok 600 grep -q '^STAGE ready' "$work/$1.remote.results"
  report "$(grep '^NOTE boot' "$work/$1.remote.results" | tr -d '\r') ($1)"
}

# went_down NAME SECONDS: waits until a machine ended by itself; within a test.
went_down() {
  until_ok "$2" eval "! runs $1"
  rm -f "$work/$1.pid"
}

# Ports are opened both ways, which waits for nobody: a machine may be gone.
# on NAME COMMANDS: runs them there, in a shell with the words of guest/lib.sh; its output and its exit code are theirs.
on() {
  local name=$1 number=$EPOCHREALTIME got code text deadline=$((SECONDS + 650))
  number=${number/./}
  printf '%s %s\n' "$number" "$(base64 -w0 <<<"$2")" 1<>"$work/$name.in"
  while [ $SECONDS -lt $deadline ] && runs "$name"; do
    # An answer to an earlier question, whose asker is gone, may come first. Opened both ways, which waits for nobody.
    if read -r -t 5 got code text <>"$work/$name.out" && [ "$got" = "$number" ]; then
      base64 -d <<<"$text"
      return "$code"
    fi
  done
  echo "$name does not answer" >&2
  return 124
}

# tell NAME COMMANDS: without waiting for an answer, for what ends the machine.
tell() { printf '0 %s\n' "$(base64 -w0 <<<"$2")" 1<>"$work/$1.in"; }

# How much a machine has sent and seen so far, and whether a text was among what came after that.
wire_at() { stat -c %s "$work/$1.pcap"; }
on_the_wire() { tail -c "+$2" "$work/$1.pcap" | grep -a -c -e "$3" || true; }
