#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing; says what to install elsewhere.
# Usage: setup.sh run|test
set -euo pipefail

run=(nftables:nft iproute2:ip conntrack:conntrack gcc:cc tar:tar curl:curl)
test=(busybox-static:busybox iptables:iptables-nft docker-registry:docker-registry jq:jq procps:ps)

wanted=("${run[@]}")
[ "${1:-run}" = test ] && wanted+=("${test[@]}")

missing=()
for entry in "${wanted[@]}"; do
  command -v "${entry#*:}" >/dev/null 2>&1 || PATH="$PATH:/sbin:/usr/sbin" command -v "${entry#*:}" >/dev/null 2>&1 ||
    missing+=("${entry%%:*}")
done
# busybox must be the static one: the tests make images of it alone.
if [ "${1:-run}" = test ] && command -v busybox >/dev/null 2>&1 && ldd "$(command -v busybox)" >/dev/null 2>&1; then
  missing+=(busybox-static)
fi
command -v cargo >/dev/null 2>&1 || {
  echo "setup: cargo is missing: install Rust from https://rustup.rs" >&2
  exit 1
}

# etcd is unpacked, not installed: a package would start it on this machine.
fetch_etcd() {
  local folder=${NARU_CACHE:-$HOME/.cache/naru}/etcd
  command -v etcd >/dev/null 2>&1 && command -v etcdctl >/dev/null 2>&1 && return
  [ -x "$folder/usr/bin/etcd" ] && [ -x "$folder/usr/bin/etcdctl" ] && return
  command -v apt-get >/dev/null 2>&1 || return 0
  echo "setup: unpacking etcd into $folder"
  local fresh
  fresh=$(mktemp -d)
  if (cd "$fresh" && { apt-get download -qq etcd-server etcd-client 2>/dev/null ||
    { "${sudo[@]}" apt-get update -qq && apt-get download -qq etcd-server etcd-client; }; } &&
    for package in *.deb; do dpkg -x "$package" unpacked; done); then
    rm -rf "$folder" && mkdir -p "$(dirname "$folder")" && cp -r "$fresh/unpacked" "$folder"
  else
    echo "setup: etcd cannot be fetched: its tests will be skipped" >&2
  fi
  rm -rf "$fresh"
}
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
[ "${1:-run}" = test ] && fetch_etcd
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: install with this machine's package manager: ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
