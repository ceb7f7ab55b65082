#!/usr/bin/env bash
# Tests what this machine cannot show: systemd, control groups version 2, AppArmor, a restart, a power cut. Boots a small
# Debian in QEMU (scripts/vm/machine.sh makes it, once) on a disk that is thrown away, and runs scripts/vm/guest in it.
# Three boots of one machine: `first` installs and restarts it, `second` looks whether all came back and writes until
# QEMU is killed, `third` looks what outlived that and uninstalls.
# Usage: test-vm.sh PATH-TO-NARU [shell]   (as root; asks sudo)
# `shell` runs no test: a machine with Naru installed, until Ctrl-C, with a root shell at $NARU_VM_KEEP/shell.
# NARU_VM_ACCEL=kvm uses the processor's virtualisation (default: emulation, which works everywhere).
# NARU_VM_KEEP=FOLDER keeps the disk and the consoles there, with a root shell of the machine at FOLDER/shell.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
naru=${1:?the path of the program}

say() { echo "test-vm: $*" >&2; }
skip() {
  echo "SKIPPED: tests in a virtual machine: $*" >&2
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}

# -- what is needed
[ "$(uname -m)" = x86_64 ] || skip "they know x86_64 only, this is $(uname -m)"
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || skip "making the machine needs root"
  exec sudo -E "$0" "$@"
fi
[ -x "$naru" ] || { say "no program at $naru: run \`make build\`"; exit 1; }
missing=()
for entry in qemu-system-x86:qemu-system-x86_64 qemu-utils:qemu-img debootstrap:debootstrap e2fsprogs:mkfs.ext4 busybox-static:busybox; do
  command -v "${entry#*:}" >/dev/null 2>&1 || missing+=("${entry%%:*}")
done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null 2>&1; then
  say "installing ${missing[*]}"
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
fi
command -v qemu-system-x86_64 >/dev/null 2>&1 || skip "qemu-system-x86_64 is missing (Debian's package qemu-system-x86)"
command -v qemu-img >/dev/null 2>&1 || skip "qemu-img is missing (Debian's package qemu-utils)"
machine=$("$here/vm/machine.sh") || skip "the machine cannot be made: see above"

if [ -n "${NARU_VM_KEEP:-}" ]; then
  work=$NARU_VM_KEEP
  mkdir -p "$work"
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/naru-vm.XXXXXX")
fi
qemu=''
stop_qemu() {
  [ -z "$qemu" ] && return
  kill -9 "$qemu" 2>/dev/null || true
  wait "$qemu" 2>/dev/null || true
  qemu=''
}
cleanup() {
  stop_qemu
  [ -n "${NARU_VM_KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# -- the second disk: the program, the images, the tests
rm -rf "$work/disk"
mkdir -p "$work/disk"
cp -r "$here/vm/guest" "$work/disk/guest"
# Without symbols: a debug build is read over an emulated disk.
strip -o "$work/disk/naru" "$naru" 2>/dev/null || cp "$naru" "$work/disk/naru"
chmod 755 "$work/disk/naru"
"$here/pack-images.sh" -d "$work/images" busybox >/dev/null
cp "$work/images/busybox.tar" "$work/disk/"
rm -f "$work/disk.ext4" "$work/root.qcow2" "$work"/*.results
mkfs.ext4 -q -d "$work/disk" "$work/disk.ext4" "$(($(du -sm "$work/disk" | cut -f1) * 5 / 4 + 32))M" >/dev/null
qemu-img create -q -f qcow2 -F raw -b "$machine/root.ext4" "$work/root.qcow2"

accel=(-accel tcg,thread=multi -cpu max,la57=off)
[ "${NARU_VM_ACCEL:-tcg}" = kvm ] && accel=(-accel kvm -cpu host)

# boot STAGE [WORD…]: starts the machine; more words go to the kernel's command line.
boot() {
  local stage=$1
  shift
  local shell=()
  [ -z "${NARU_VM_KEEP:-}" ] || shell=(-serial "unix:$work/shell,server=on,wait=off")
  results=$work/$stage.results
  console=$work/$stage.console
  : >"$results"
  qemu-system-x86_64 -M q35 "${accel[@]}" -smp 2 -m 1536 -nodefaults -display none -no-reboot \
    -kernel "$machine/kernel" -initrd "$machine/initrd" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 ${shell:+systemd.debug_shell=ttyS2} naru.stage=$stage $*" \
    -drive "file=$work/root.qcow2,if=virtio,format=qcow2,cache=writeback" \
    -drive "file=$work/disk.ext4,if=virtio,format=raw,readonly=on" \
    -nic user,restrict=on,model=virtio-net-pci,mac=52:54:00:00:00:01 \
    -netdev hubport,hubid=1,id=lan0 -device virtio-net-pci,netdev=lan0,mac=52:54:00:00:01:00,romfile= \
    -netdev hubport,hubid=1,id=far0 -device virtio-net-pci,netdev=far0,mac=52:54:00:00:01:01,romfile= \
    -netdev hubport,hubid=2,id=lan1 -device virtio-net-pci,netdev=lan1,mac=52:54:00:00:02:00,romfile= \
    -netdev hubport,hubid=2,id=far1 -device virtio-net-pci,netdev=far1,mac=52:54:00:00:02:01,romfile= \
    -device virtio-rng-pci -serial "file:$console" -serial "file:$results" "${shell[@]}" </dev/null >"$work/$stage.qemu" 2>&1 &
  qemu=$!
}

shown=0
# Prints what is new in the results; what began and has no end of line yet waits.
show() {
  local lines
  lines=$(wc -l <"$results")
  [ "$lines" -gt "$shown" ] || return 0
  sed -n "$((shown + 1)),${lines}p" "$results" | tr -d '\r' | grep -E '^(TEST|NOTE|LOG) ' | sed 's/^/  /' || true
  shown=$lines
}

# follow STAGE SECONDS MARK: shows results until the line MARK, the end of QEMU, or the deadline.
follow() {
  local stage=$1 deadline=$((SECONDS + $2)) mark=$3
  while :; do
    show
    tr -d '\r' <"$results" | grep -qx "$mark" && return 0
    if ! kill -0 "$qemu" 2>/dev/null || [ $SECONDS -ge $deadline ]; then
      show
      tr -d '\r' <"$results" | grep -qx "$mark" && return 0
      echo "TEST FAIL $stage: the machine did not come to \"$mark\"; its console ended with:" | tee -a "$results"
      tail -n 15 "$console" "$work/$stage.qemu" 2>/dev/null | sed 's/^/    /'
      stop_qemu
      return 1
    fi
    sleep 0.5
  done
}

# ended SECONDS NAME: waits until QEMU ends by itself, which is when the machine went down or restarts. Later than SECONDS
# is a failure; what comes after is tested all the same.
ended() {
  local began=$SECONDS late=''
  while kill -0 "$qemu" 2>/dev/null; do
    if [ -z "$late" ] && [ $((SECONDS - began)) -ge "$1" ]; then
      late=yes
      echo "TEST FAIL $2: the machine did not go down within $1 s" | tee -a "$results" | sed 's/^/  /'
      tail -n 5 "$console" | cut -c1-300 | sed 's/^/  LOG   /'
    elif [ $((SECONDS - began)) -ge $(($1 + 300 * slow)) ]; then
      stop_qemu
      return 1
    fi
    sleep 0.5
  done
  wait "$qemu" 2>/dev/null || true
  qemu=''
  [ -n "$late" ] || echo "TEST ok $2" | tee -a "$results" | sed 's/^/  /'
  echo "  NOTE going down took $((SECONDS - began)) s"
}

if [ "${2:-}" = shell ]; then
  boot shell
  say "a root shell: socat -,raw,echo=0 unix-connect:$work/shell"
  wait "$qemu"
  exit
fi

slow=${NARU_VM_PATIENCE:-1}
began=$SECONDS
stages() {
  say "boot 1: install, limits, network, restarts of the server"
  boot first
  follow first $((1500 * slow)) 'STAGE done' || return 0
  # A grace period of ten seconds and the emulator's slowness; systemd itself waits 90 s for what does not end.
  ended $((50 * slow)) machine-restarts-in-the-grace-period || return 0

  say "boot 2: everything back, then a power cut"
  shown=0
  boot second
  follow second $((900 * slow)) 'STAGE writing' || return 0
  local deadline=$((SECONDS + 120 * slow))
  until [ "$(grep -c '^ACK' "$results")" -ge 150 ] || [ $SECONDS -ge $deadline ] || ! kill -0 "$qemu" 2>/dev/null; do
    sleep 0.05
  done
  stop_qemu
  # Only whole lines count: the cut may have gone through the last one.
  local acked='' writer count
  for writer in 1 2 3; do
    count=$(tr -d '\r' <"$results" | sed -n '$!p' | sed -n "s/^ACK $writer \([0-9]*\)$/\1/p" | tail -n 1)
    acked=$acked${acked:+,}${count:-0}
  done
  say "the power was cut after $(grep -c '^ACK' "$results") acknowledged writes"
  if [ "$acked" = 0,0,0 ]; then
    echo "TEST FAIL second: nothing was written before the power cut" | tee -a "$results"
    return 0
  fi

  say "boot 3: after the cut; uninstall"
  shown=0
  boot third "naru.acked=$acked"
  follow third $((900 * slow)) 'STAGE done' || return 0
  ended $((60 * slow)) machine-goes-down || return 0
}
stages

count() { cat "$work"/*.results | tr -d '\r' | grep -c "^TEST $1 " || true; }
echo
cat "$work"/*.results | tr -d '\r' | grep '^TEST FAIL' || true
say "took $((SECONDS - began)) s"
echo "$(count ok) passed, $(count FAIL) failed"
[ "$(count FAIL)" -eq 0 ] && [ "$(count ok)" -gt 0 ]
