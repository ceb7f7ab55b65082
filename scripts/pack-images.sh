#!/usr/bin/env bash
# Packs the images that the examples and tests run. Usage: pack-images.sh [-d FOLDER] [busybox debian redis nginx postgres]…
# Writes FOLDER/<name>.tar (default: the cache's folder `archives`) and prints each path.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${NARU_CACHE:-$HOME/.cache/naru}/archives
[ "${1:-}" = -d ] && { folder=$2; shift 2; }
[ $# -gt 0 ] || set -- busybox debian redis nginx postgres
mkdir -p "$folder"

pack() { "$here/pack-image.sh" "$@"; }
for image in "$@"; do
    out=$folder/$image.tar
    case $image in
        busybox)
            pack --name naru.local/busybox:1 --deb busybox-static --busybox-links --cmd '["sh"]' -o "$out"
            ;;
        debian)
            pack --name naru.local/debian:1 --deb dash --deb bash --deb coreutils --deb grep --deb sed --deb findutils \
                --deb procps --deb hostname --deb curl --deb iproute2 --deb netcat-openbsd \
                --link /usr/bin/nc:nc.openbsd --cmd '["bash"]' -o "$out"
            ;;
        redis)
            pack --name naru.local/redis:7 --deb redis-server --deb redis-tools --user redis:999 --volume /data --workdir /data \
                --expose 6379 --entrypoint '["redis-server","--bind","*","--protected-mode","no"]' --env LANG=C.UTF-8 -o "$out"
            ;;
        nginx)
            pack --name naru.local/nginx:1 --deb nginx --deb nginx-common --expose 80 --stop-signal SIGQUIT \
                --link /etc/nginx/sites-enabled/default:/etc/nginx/sites-available/default \
                --link /var/www/html/index.html:/usr/share/nginx/html/index.html \
                --link /var/log/nginx/access.log:/dev/stdout --link /var/log/nginx/error.log:/dev/stderr \
                --dir /var/lib/nginx:www-data --cmd '["nginx","-g","daemon off;"]' -o "$out"
            ;;
        postgres)
            version=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n1)
            [ -n "$version" ] || { echo "pack-images: apt knows no postgresql: run apt-get update" >&2; exit 1; }
            # By a path and with a mode that are the same in every checkout, so that all share what is packed.
            entrypoint=${NARU_CACHE:-$HOME/.cache/naru}/images/postgres-entrypoint.sh
            install -D -m 755 "$here/images/postgres-entrypoint.sh" "$entrypoint"
            pack --name "naru.local/postgres:$version" --deb "postgresql-$version" --deb "postgresql-client-$version" --deb tzdata \
                --deb dash --deb coreutils --exclude "/usr/lib/postgresql/$version/lib/llvmjit.so" \
                --exclude "/usr/lib/postgresql/$version/lib/bitcode" --user postgres:999 --volume /var/lib/postgresql/data --expose 5432 --stop-signal SIGINT \
                --add "$entrypoint:/usr/local/bin/entrypoint" --dir /run/postgresql:postgres \
                --env "PATH=/usr/lib/postgresql/$version/bin:/usr/local/bin:/usr/bin:/bin" --env PGDATA=/var/lib/postgresql/data \
                --env LANG=C.UTF-8 --entrypoint '["/usr/local/bin/entrypoint"]' --cmd '["postgres"]' -o "$out"
            ;;
        *)
            echo "pack-images: no recipe for $image (there are: busybox debian redis nginx postgres)" >&2
            exit 2
            ;;
    esac
    echo "$out"
done
