#!/usr/bin/env bash
# Tests what this machine cannot show: systemd, control groups version 2, AppArmor, other firewalls, kernel WireGuard, a
# restart, a power cut. Boots a small Debian in QEMU (scripts/vm/machine.sh makes it, once) on disks that are thrown away.
#   scripts/vm/one.sh   one machine, three boots; the tests run inside it (scripts/vm/guest)
#   scripts/vm/two.sh   a server and a worker on one wire; the tests run here (scripts/vm/two) and ask both
# Usage: test-vm.sh PATH-TO-NARU [FILTER]   (as root; asks sudo)
# FILTER is `one`, `two`, or a regular expression of tests' names: only those run, and what they need before.
# `shell` as FILTER runs no test: a machine with Naru installed, until Ctrl-C, with a root shell at $NARU_VM_KEEP/one.shell;
# `shells` two that have joined, at server.shell and worker.shell.
# NARU_VM_ACCEL=kvm uses the processor's virtualisation (default: emulation, which works everywhere).
# NARU_VM_PATIENCE=3 waits three times as long for everything (a busy machine).
# NARU_VM_KEEP=FOLDER keeps disks and consoles there, with a root shell of each machine at FOLDER/<machine>.shell.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
naru=${1:?the path of the program}
filter=${2:-}
slow=${NARU_VM_PATIENCE:-1}

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
for entry in qemu-system-x86:qemu-system-x86_64 qemu-utils:qemu-img debootstrap:debootstrap e2fsprogs:mkfs.ext4 \
  busybox-static:busybox iproute2:ip curl:curl jq:jq; do
  command -v "${entry#*:}" >/dev/null 2>&1 || missing+=("${entry%%:*}")
done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null 2>&1; then
  say "installing ${missing[*]}"
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
fi
for program in qemu-system-x86_64 qemu-img jq curl; do
  command -v $program >/dev/null 2>&1 || skip "$program is missing"
done
machine=$("$here/vm/machine.sh") || skip "the machine cannot be made: see above"

if [ -n "${NARU_VM_KEEP:-}" ]; then
  work=$NARU_VM_KEEP
  mkdir -p "$work"
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/naru-vm.XXXXXX")
fi
. "$here/vm/guest/words.sh"
. "$here/vm/tap.sh"
. "$here/vm/qemu.sh"
cleanup() {
  stop_all
  [ -n "${NARU_VM_KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# -- the second disk of every machine: the program, the images, the tests
rm -rf "$work/disk" "$work"/*.{results,console,qcow2,ext4,pid,in,out}
mkdir -p "$work/disk"
cp -r "$here/vm/guest" "$work/disk/guest"
case $filter in one | two | shell | shells) ;; *) echo "$filter" >"$work/disk/guest/filter" ;; esac
# Without symbols: a debug build is read over an emulated disk.
strip -o "$work/disk/naru" "$naru" 2>/dev/null || cp "$naru" "$work/disk/naru"
chmod 755 "$work/disk/naru"
"$here/pack-images.sh" -d "$work/images" busybox >/dev/null
cp "$work/images/busybox.tar" "$work/disk/"
mkfs.ext4 -q -d "$work/disk" "$work/disk.ext4" "$(($(du -sm "$work/disk" | cut -f1) * 5 / 4 + 32))M" >/dev/null

began=$SECONDS
case $filter in
  shell) . "$here/vm/one.sh" && shell_of_one && exit ;;
  shells) . "$here/vm/two.sh" && shells_of_two && exit ;;
  one | two)
    only=$filter
    filter=''
    . "$here/vm/$only.sh"
    "scenario_$only"
    ;;
  *)
    for scenario in one two; do
      . "$here/vm/$scenario.sh"
      [ -z "$filter" ] || "names_of_$scenario" | grep -v '^+' | grep -qE -e "$filter" || continue
      "scenario_$scenario"
      stop_all
    done
    ;;
esac
summary "$((SECONDS - began))"
