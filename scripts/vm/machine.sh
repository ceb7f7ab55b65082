#!/usr/bin/env bash
# Makes the machine that the tests boot: a small Debian with systemd, its cloud kernel, and an initial file system that
# loads just the disk's driver. Kept in the cache by what it is made from. Prints the folder: kernel, initrd, root.ext4.
# Usage: machine.sh (as root)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${NARU_CACHE:-$HOME/.cache/naru}/vm
packages=systemd,systemd-sysv,udev,dbus,nftables,iptables,iproute2,conntrack,curl,kmod,procps,jq,apparmor,busybox-static
# What users' machines have besides: there, and off until a test turns it on.
others='ufw firewalld systemd-resolved wireguard-tools'

# The program under test is linked with this machine's C library: the guest is the same Debian, or the newest elsewhere.
suite=${NARU_VM_SUITE:-}
if [ -z "$suite" ]; then
  suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") || true
  suite=${suite:-trixie}
fi
mirror=${NARU_VM_MIRROR:-http://deb.debian.org/debian}

key=$({ cat "$0"; find "$here/root" "$here/initrd" -type f | sort | xargs cat; echo "$suite $mirror"; } | sha256sum | cut -c1-16)
done=$cache/$key
if [ -e "$done/root.ext4" ]; then
  echo "$done"
  exit 0
fi

mkdir -p "$cache"
scratch=$(mktemp -d "$cache/making.XXXXXX")
cleanup() {
  mountpoint -q "$scratch/tree/proc" && umount -l "$scratch/tree/proc"
  mountpoint -q "$scratch/tree/sys" && umount -l "$scratch/tree/sys"
  rm -rf --one-file-system "$scratch"
}
trap cleanup EXIT
say() { echo "vm: $*" >&2; }
tree=$scratch/tree

say "making the machine ($suite; a few minutes, once)"
debootstrap --variant=minbase --include="$packages" "$suite" "$tree" "$mirror" >"$scratch/log" 2>&1 ||
  { tail -n 20 "$scratch/log" >&2; say "debootstrap failed"; exit 1; }

# -- the kernel, unpacked without its scripts: nothing on either machine is configured to boot from it
cp /etc/resolv.conf "$tree/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
chroot "$tree" sh -ec '
  mkdir /kernel && cd /kernel
  apt-get update -qq
  apt-get -o APT::Sandbox::User=root download -q "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: //p" | head -n1)"
  dpkg-deb -x ./*.deb /kernel/tree
  mv /kernel/tree/boot/vmlinuz-* /kernel/kernel
  cp -a /kernel/tree/*/modules /usr/lib/ 2>/dev/null || cp -a /kernel/tree/usr/lib/modules /usr/lib/
  # Last: the resolver makes /etc/resolv.conf its own.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1
  apt-get clean
  rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d' sh "$others" >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" >&2; say "the kernel cannot be had"; exit 1; }
mv "$tree/kernel/kernel" "$scratch/kernel"
rm -rf "$tree/kernel"
version=$(basename "$tree"/usr/lib/modules/*)
chroot "$tree" depmod "$version"

# -- the initial file system: busybox, the drivers of the disk in the order in which they load, and the script
initrd=$scratch/initrd.tree
mkdir -p "$initrd"/{bin,modules,dev,proc,sys,root}
cp "$tree/bin/busybox" "$initrd/bin/busybox"
install -m 755 "$here/initrd/init" "$initrd/init"
number=10
for module in virtio_pci virtio_blk ext4; do
  while read -r word path _; do
    [ "$word" = insmod ] || continue
    name=$(basename "$path")
    ls "$initrd"/modules/*-"${name%%.ko*}.ko" >/dev/null 2>&1 && continue
    unpack=cat
    case $name in *.xz) unpack='xz -dc' ;; *.zst) unpack='zstd -dc' ;; *.gz) unpack='gzip -dc' ;; esac
    $unpack "$tree$path" >"$initrd/modules/$number-${name%%.ko*}.ko"
    number=$((number + 1))
  done < <(chroot "$tree" modprobe --show-depends --set-version "$version" "$module")
done
(cd "$initrd" && find . | "$tree/bin/busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$scratch/initrd"

# -- the root file system: ours over Debian's, nothing that asks the network or wakes up by itself
cp -a "$here/root/." "$tree/"
chown -R 0:0 "$tree/etc/systemd/system" "$tree/etc/systemd/network"
: >"$tree/etc/machine-id"
echo vm >"$tree/etc/hostname"
echo '127.0.0.1 localhost vm' >"$tree/etc/hosts"
# The resolver's package makes it a link to its own; a test does that again.
rm -f "$tree/etc/resolv.conf"
echo 'nameserver 10.0.2.3' >"$tree/etc/resolv.conf"
chroot "$tree" systemctl -q enable naru-test.service systemd-networkd.service
chroot "$tree" systemctl -q disable ufw.service firewalld.service nftables.service systemd-resolved.service
chroot "$tree" systemctl -q mask getty@tty1.service serial-getty@ttyS0.service serial-getty@ttyS1.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer \
  systemd-networkd-wait-online.service
rm -rf "$tree"/usr/share/{doc,man,locale,info} "$tree"/var/cache/apt/*
mkfs.ext4 -q -d "$tree" -E lazy_itable_init=1 -O ^metadata_csum_seed "$scratch/root.ext4" 8G >/dev/null

rm -rf --one-file-system "$tree" "$initrd" "$scratch/log"
# What earlier versions of this script made is of no use.
find "$cache" -mindepth 1 -maxdepth 1 -type d -regextype egrep -regex '.*/[0-9a-f]{16}' ! -path "$done" -exec rm -rf {} +
mkdir -p "$done"
mv "$scratch/kernel" "$scratch/initrd" "$done/"
mv "$scratch/root.ext4" "$done/root.ext4"
say "made: $(du -sh "$done" | cut -f1) in $done"
echo "$done"
