#!/usr/bin/env bash
# Brings up examples/hello on this machine: images made here, then `naru up`.
# Usage: demo.sh PATH-TO-NARU
set -euo pipefail
cd "$(dirname "$0")/.."

naru=${1:?the path of the program}
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo -E)
cache=${NARU_CACHE:-$HOME/.cache/naru}
mkdir -p "$cache/images"

web=$cache/images/hello-web
if [ ! -e "$web" ] || [ examples/hello/web.rs -nt "$web" ]; then
  rustc --edition 2024 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols -o "$web" examples/hello/web.rs
fi
scripts/pack-image.sh --name naru.local/hello-web:1 --add "$web:/web" --entrypoint '["/web"]' --expose 8080 -o "$cache/images/hello-web.tar"
scripts/pack-images.sh -d "$cache/archives" redis >/dev/null

"${sudo[@]}" "$naru" image load -i "$cache/images/hello-web.tar"
"${sudo[@]}" "$naru" image load -i "$cache/archives/redis.tar"
"${sudo[@]}" "$naru" -f examples/hello/compose.yaml up -d --wait --wait-timeout 60
"${sudo[@]}" "$naru" -f examples/hello/compose.yaml ps

cat <<EOF

The demo runs:  http://localhost:8080/
Try:            curl http://localhost:8080/
                $naru -f examples/hello/compose.yaml logs
                KUBECONFIG=\$($naru kubeconfig --file) kubectl get pods -A
Stop it:        make demo-down
EOF
curl --fail --silent --show-error --max-time 10 http://localhost:8080/
