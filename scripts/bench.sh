#!/usr/bin/env bash
# Runs every benchmark and prints its figures, with the peer's and the ratio where the peer is installed.
# Usage: bench.sh [--fetch-peer] PATH-TO-NARU [NAME…]
#
# Names: of whole benchmarks (engine, start, dns, ruleset, cross-node, product) or of one of the product's (pod-start, scale,
# recovery, cold-start, memory, update, api, size, images, join, endpoint-change, power-off, drain); and, only by name, world:
# thousands of simulated nodes, some minutes (NARU_WORLD_NODES, NARU_WORLD_PODS; 5000 and 30 a node unless given).
# KUBE_APISERVER=PROGRAM runs api and size for kube-apiserver, over an etcd of its own, too.
# --fetch-peer unpacks Debian's docker.io with what it needs into the cache and uses it from there: nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

peer=${NARU_CACHE:-$HOME/.cache/naru}/peer
fetch_peer() {
  local packages=(docker.io containerd runc tini iptables libip4tc2 libip6tc2 libxtables12 libnftnl11 libmnl0 libnetfilter-conntrack3 libnfnetlink0)
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && apt-get download -qq "${packages[@]}" && for package in *.deb; do dpkg -x "$package" "$peer"; done)
  rm -rf "$folder"
  local name
  for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sf xtables-nft-multi "$peer/usr/sbin/$name"
  done
}
if [ "${1:-}" = --fetch-peer ]; then
  shift
  [ -x "$peer/usr/sbin/dockerd" ] || fetch_peer
fi
if [ -x "$peer/usr/sbin/dockerd" ] && ! command -v dockerd >/dev/null; then
  libraries=$(dirname "$(find "$peer/usr/lib" -name 'libxtables.so.*' | head -n 1)")
  export PATH="$peer/usr/sbin:$peer/usr/bin:$PATH" LD_LIBRARY_PATH="$libraries" XTABLES_LIBDIR="$libraries/xtables"
fi

NARU_BENCH_BINARY=$(realpath "${1:?the path of the program}")
export NARU_BENCH_BINARY
shift

echo "$(uname -sr), $(nproc) processors, $("$NARU_BENCH_BINARY" --version)"
for wanted in ${*:-engine start dns ruleset cross-node product}; do
  case $wanted in
    pod-start | scale | recovery | cold-start | memory | update | api | size | images | join | endpoint-change | power-off | drain)
      bench=product names=$wanted
      ;;
    cross-node) bench=overlay names= ;;
    *) bench=$wanted names= ;;
  esac
  echo
  echo "== $bench ${names:+($names)}"
  # The API server's own benchmark measures that crate alone; `api` here is the whole program's.
  manifest=$(grep -lE "^name = \"$bench\"" crates/*/Cargo.toml | head -n 1)
  [ -n "$manifest" ] || { echo "no such benchmark"; continue; }
  cargo bench -q --locked --manifest-path "$manifest" --bench "$bench" -- $names
done
