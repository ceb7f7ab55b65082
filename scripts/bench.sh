#!/usr/bin/env bash
# Runs every benchmark and prints its figures, with the peer's and the ratio where the peer is installed.
# Usage: bench.sh PATH-TO-NARU [NAME…]
set -euo pipefail
cd "$(dirname "$0")/.."

export NARU_BENCH_BINARY=${1:?the path of the program}
shift
for bench in ${*:-engine start dns rules}; do
  echo "== $bench"
  package=$(grep -lE "^name = \"$bench\"" crates/*/Cargo.toml | head -n 1)
  [ -n "$package" ] || { echo "no such benchmark"; continue; }
  cargo bench -q --locked --manifest-path "$package" --bench "$bench"
done
