#!/usr/bin/env bash
# Packs Debian packages and files of our own into a container image, without any registry.
#
# The named packages are taken whole (without documentation and start-up scripts); of what they depend on, only the
# shared libraries that their programs are linked with. The result is one tar file that is an OCI layout and a
# `docker load` archive at once, the same bytes for the same input, and cached by everything that goes into it.
# Maintainer scripts do not run: users, links and folders that they would make are options here.
set -euo pipefail
export LC_ALL=C
# What an image holds must not depend on who packs it.
umask 022

RECIPE=3 # to be raised when the way of packing changes: part of the cache's key
CACHE=${NARU_CACHE:-$HOME/.cache/naru}

usage() {
    cat <<'USAGE'
Usage: pack-image.sh --name NAME:TAG [options] -o OUT.tar

  --name NAME:TAG       name of the image, for example naru.local/redis:7
  --deb PACKAGE         take this package (repeatable)
  --add SRC:DEST        take a file or folder of this machine (repeatable); libraries it is linked with follow
  --exclude PATH        leave this file or folder of the packages out (repeatable)
  --link PATH:TARGET    make the symbolic link PATH (repeatable)
  --dir PATH[:USER]     make a folder (repeatable)
  --busybox-links       link every applet of /bin/busybox
  --user NAME[:UID]     run as this user, made if it is not a standard one (default: root)
  --make-user NAME:UID  make a user without running as it (repeatable)
  --entrypoint JSON     for example '["redis-server"]'
  --cmd JSON            default arguments
  --env NAME=VALUE      (repeatable)
  --expose PORT[/PROTO] (repeatable)
  --volume PATH         (repeatable); the folder belongs to the user
  --workdir PATH
  --stop-signal SIGNAL
  --label NAME=VALUE    (repeatable)
  -o OUT.tar            where to write the archive
USAGE
}

die() { echo "pack-image: $*" >&2; exit 1; }
say() { echo "pack-image: $*" >&2; }
need() { command -v "$1" >/dev/null || die "the program $1 is missing: apt-get install $2"; }

# -- what is asked for
name='' out='' user='' user_id=999 entrypoint='' cmd='' workdir='' stop_signal='' busybox_links=''
debs=() adds=() excludes=() links=() dirs=() made_users=() envs=() ports=() volumes=() labels=()
all_arguments=("$@")
while [ $# -gt 0 ]; do
    [ "$1" = --help ] || [ "$1" = -h ] && { usage; exit 0; }
    [ "$1" = --busybox-links ] && { busybox_links=yes; shift; continue; }
    [ $# -ge 2 ] || { usage >&2; die "$1 needs a value"; }
    case $1 in
        --name) name=$2 ;;
        --deb) debs+=("$2") ;;
        --add) adds+=("$2") ;;
        --exclude) excludes+=("$2") ;;
        --link) links+=("$2") ;;
        --dir) dirs+=("$2") ;;
        --user) user=${2%%:*}; [[ $2 == *:* ]] && user_id=${2#*:} ;;
        --make-user) made_users+=("$2") ;;
        --entrypoint) entrypoint=$2 ;;
        --cmd) cmd=$2 ;;
        --env) envs+=("$2") ;;
        --expose) ports+=("$2") ;;
        --volume) volumes+=("$2") ;;
        --workdir) workdir=$2 ;;
        --stop-signal) stop_signal=$2 ;;
        --label) labels+=("$2") ;;
        -o) out=$2 ;;
        *) usage >&2; die "unknown option $1" ;;
    esac
    shift 2
done
[ -n "$name" ] && [ -n "$out" ] || { usage >&2; die "--name and -o are needed"; }
[[ $name == *:* ]] || name=$name:latest
need dpkg-deb dpkg; need apt-cache apt; need readelf binutils; need tar tar; need gzip gzip; need sha256sum coreutils
mkdir -p "$CACHE/images" "$CACHE/debs"

# -- packages: what is meant, in which version
closure_options=(--recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances)
closure='' described=''
if [ ${#debs[@]} -gt 0 ] || [ ${#adds[@]} -gt 0 ]; then
    # Asking apt takes seconds, and its answer changes only with its lists.
    lists=$(stat -c '%n %Y %s' /var/lib/apt/lists /var/lib/apt/lists/*_Packages* /var/lib/dpkg/arch 2>/dev/null || true)
    answer=$CACHE/images/$(echo "$RECIPE $lists ${debs[*]}" | sha256sum | cut -c1-32).packages
    if [ ! -f "$answer" ]; then
        for package in "${debs[@]}"; do
            apt-cache show --no-all-versions "$package" >/dev/null 2>&1 \
                || die "apt knows no package $package: check the name, or run apt-get update"
        done
        # Package and digest, one line each.
        apt-cache depends "${closure_options[@]}" "${debs[@]}" libc6 libc-bin libgcc-s1 libstdc++6 zlib1g \
            | { grep -E '^[a-z0-9]' || true; } | cut -d: -f1 | sort -u | xargs apt-cache show --no-all-versions 2>/dev/null \
            | awk '/^Package: / { package = $2 } /^SHA256: / { print package, $2 }' | sort -u >"$answer.$$"
        mv "$answer.$$" "$answer"
    fi
    described=$(cat "$answer")
    closure=$(cut -d' ' -f1 <<<"$described" | sort -u)
fi

digest_of() { awk -v wanted="$1" '$1 == wanted { print $2; exit }' <<<"$described"; }

# -- the cache
key() {
    echo "$RECIPE" "$(dpkg --print-architecture)"
    local skip='' argument
    for argument in "${all_arguments[@]}"; do
        if [ -n "$skip" ]; then skip=''; continue; fi
        if [ "$argument" = -o ]; then skip=yes; continue; fi
        printf '%q\n' "$argument"
    done
    echo "$described"
    local add
    for add in "${adds[@]}"; do
        [ -e "${add%:*}" ] || die "${add%:*} does not exist"
        tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -chf - -C "$(dirname "${add%:*}")" "$(basename "${add%:*}")" | sha256sum
    done
}
cached=$CACHE/images/$(key | sha256sum | cut -c1-32).tar
deliver() {
    mkdir -p "$(dirname "$out")"
    cp --reflink=auto "$cached" "$out.part.$$"
    mv "$out.part.$$" "$out"
}
if [ -f "$cached" ]; then
    deliver
    exit 0
fi

scratch=$(mktemp -d "$CACHE/pack.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root

# Puts the archives of packages into the cache, all that are missing at once.
fetch() {
    local package digest missing=() folder file
    for package in "$@"; do
        digest=$(digest_of "$package")
        [ -n "$digest" ] || die "apt describes no package $package"
        [ -f "$CACHE/debs/$digest.deb" ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    folder=$(mktemp -d "$scratch/download.XXXXXX")
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download "${missing[@]}" >&2) \
        || die "these packages could not be downloaded: ${missing[*]}"
    for file in "$folder"/*.deb; do
        digest=$(sha256sum "$file" | cut -d' ' -f1)
        grep -qF " $digest" <<<"$described" || die "$(basename "$file") arrived damaged, or is another version than apt lists: run apt-get update"
        mv "$file" "$CACHE/debs/$digest.deb"
    done
}

# Unpacks a package beside the others and prints the folder; /bin, /lib and their kin are moved below /usr.
extract() {
    local folder=$scratch/packages/$1
    if [ ! -d "$folder" ]; then
        fetch "$1"
        mkdir -p "$folder"
        dpkg-deb -x "$CACHE/debs/$(digest_of "$1").deb" "$folder"
        local top
        for top in bin sbin lib lib64; do
            [ -d "$folder/$top" ] && [ ! -L "$folder/$top" ] || continue
            mkdir -p "$folder/usr/$top"
            cp -a "$folder/$top/." "$folder/usr/$top/"
            rm -rf "${folder:?}/$top"
        done
    fi
    echo "$folder"
}

# -- the root file system
mkdir -p "$root"/{dev,etc,home,proc,root,run,srv,sys,tmp,usr/{bin,sbin,lib,lib64,local/bin},var/{cache,lib,log,tmp}}
for top in bin sbin lib lib64; do ln -s "usr/$top" "$root/$top"; done
ln -s /run "$root/var/run"
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
mkdir -p "$scratch/packages"
fetch "${debs[@]}"
for package in "${debs[@]}"; do
    folder=$(extract "$package")
    tar -C "$folder" -cf - --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/info' \
        --exclude='./usr/share/lintian' --exclude='./usr/share/bug' --exclude='./usr/share/locale' \
        --exclude='./usr/lib/systemd' --exclude='./etc/init.d' --exclude='./etc/cron.*' --exclude='./etc/logrotate.d' \
        . | tar -C "$root" -xpf - --no-same-owner --keep-directory-symlink
done
for exclude in "${excludes[@]}"; do rm -rf "${root:?}/${exclude#/}"; done
for add in "${adds[@]}"; do
    mkdir -p "$root/$(dirname "${add##*:}")"
    cp -aL --no-preserve=ownership,timestamps -T "${add%:*}" "$root/${add##*:}"
done
for link in "${links[@]}"; do
    mkdir -p "$root/$(dirname "${link%%:*}")"
    ln -sfn "${link#*:}" "$root/${link%%:*}"
done
if [ -n "$busybox_links" ]; then
    for applet in $("$root/usr/bin/busybox" --list); do
        [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
    done
fi
if [ ! -e "$root/usr/bin/sh" ]; then
    for shell in dash bash busybox; do
        if [ -e "$root/usr/bin/$shell" ]; then ln -s "$shell" "$root/usr/bin/sh"; break; fi
    done
fi

# -- shared libraries, until nothing is missing
needed() {
    find "$root" -type f \( -perm -100 -o -name '*.so*' \) -print0 | { xargs -0 -r readelf -dW 2>/dev/null || true; } \
        | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' | sort -u
}
present() { find "$root" \( -type f -o -type l \) -name '*.so*' -printf '%f\n' | sort -u; }

# Takes the library $1 out of the package $2, if that has it.
take_library() {
    local folder found
    folder=$(extract "$2")
    found=$(find "$folder/usr/lib" "$folder/usr/lib64" -name "$1" 2>/dev/null | head -n1)
    [ -n "$found" ] || return 1
    local path=${found#"$folder"/}
    mkdir -p "$root/$(dirname "$path")"
    cp -a "$found" "$root/$path"
    if [ -L "$found" ]; then
        local target
        target=$(readlink -f "$found")
        mkdir -p "$root/$(dirname "${target#"$folder"/}")"
        cp -a "$target" "$root/${target#"$folder"/}"
    fi
}

# The package that should hold a library, by Debian's rule for their names.
guess() {
    local base=${1%%.so*} version=${1##*.so}
    version=${version#.}
    case $1 in
        libcrypto.so.*) base=libssl ;;
        ld-linux*|libm.so.*|libdl.so.*|libpthread.so.*|librt.so.*|libresolv.so.*|libutil.so.*|libanl.so.*|libmvec.so.*) base=libc version=6 ;;
        libgcc_s.so.*) base=libgcc-s ;;
        libz.so.1) base=zlib1g version='' ;;
    esac
    [[ $base =~ [0-9]$ ]] && [ -n "$version" ] && base=$base-
    tr 'A-Z_' 'a-z-' <<<"$base$version" | { read -r name; grep -Fx -e "$name" -e "${name}t64" <<<"$closure" || true; } | head -n1
}

# Whether only plug-ins want the library $1: they are for what the package merely recommends, and stay unusable.
only_plugins() {
    local file
    while read -r file; do
        readelf -dW "$file" 2>/dev/null | grep -qF "(NEEDED)" || continue
        readelf -dW "$file" | grep -F "(NEEDED)" | grep -qF "[$1]" || continue
        [[ $file =~ \.so(\.|$) ]] && [ "$(basename "$(dirname "$(dirname "$file")")")" != lib ] || return 1
    done < <(find "$root" -type f \( -perm -100 -o -name '*.so*' \))
}

unusable=''
while missing=$(comm -23 <(needed) <({ present; echo "$unusable"; } | sort -u)) && [ -n "$missing" ]; do
    guesses=$(for library in $missing; do guess "$library"; done | sort -u)
    # shellcheck disable=SC2086 # one word a package
    [ -z "$guesses" ] || fetch $guesses
    progress='' left=()
    for library in $missing; do
        package=$(guess "$library")
        if [ -n "$package" ] && take_library "$library" "$package"; then progress=yes; else left+=("$library"); fi
    done
    [ -z "$progress" ] || continue
    # What breaks the rule: first where something was unpacked already, then everywhere.
    for library in "${left[@]}"; do
        found=''
        for package in $(ls "$scratch/packages") $(grep -E '^(lib|zlib)' <<<"$closure" | grep -v -e '-perl$' -e '^libperl'); do
            if take_library "$library" "$package"; then found=yes; break; fi
        done
        if [ -z "$found" ] && only_plugins "$library"; then
            unusable=$unusable$'\n'$library
            continue
        fi
        [ -n "$found" ] || die "no package gives the library $library, which a program of the image is linked with: name its package with --deb"
    done
done
if [ -n "$(needed)" ]; then
    # The C library loads it by itself when a thread ends early.
    [ -n "$(find "$root" -name libgcc_s.so.1)" ] || take_library libgcc_s.so.1 libgcc-s1 || true
    # The locale C.UTF-8, which programs ask for by LANG.
    locale=$(extract libc-bin)/usr/lib/locale/C.utf8
    if [ -d "$locale" ] && [ ! -e "$root/usr/lib/locale/C.utf8" ]; then
        mkdir -p "$root/usr/lib/locale"
        cp -a "$locale" "$root/usr/lib/locale/"
    fi
    loader=$(find "$root/usr/lib" -name 'ld-linux-*.so.*' | head -n1)
    if [ -n "$loader" ]; then
        where=/lib64
        [ "$(dpkg --print-architecture)" = arm64 ] && where=/lib
        [ -e "$root$where/$(basename "$loader")" ] || ln -s "/${loader#"$root"/}" "$root$where/$(basename "$loader")"
    fi
fi

# -- users
passwd=$root/etc/passwd group=$root/etc/group
shell=/usr/sbin/nologin
[ -e "$root/usr/bin/sh" ] && shell=/bin/sh
[ -s "$passwd" ] || printf '%s\n' "root:x:0:0:root:/root:$shell" daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin \
    bin:x:2:2:bin:/bin:/usr/sbin/nologin sys:x:3:3:sys:/dev:/usr/sbin/nologin mail:x:8:8:mail:/var/mail:/usr/sbin/nologin \
    www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin >"$passwd"
[ -s "$group" ] || printf '%s\n' root:x:0: daemon:x:1: bin:x:2: sys:x:3: adm:x:4: tty:x:5: mail:x:8: www-data:x:33: users:x:100: \
    nogroup:x:65534: >"$group"
[ -n "$user" ] && [[ ! $user =~ ^[0-9]+$ ]] && made_users+=("$user:$user_id")
for made in "${made_users[@]}"; do
    grep -q "^${made%%:*}:" "$passwd" && continue
    echo "${made%%:*}:x:${made#*:}:${made#*:}::/home/${made%%:*}:$shell" >>"$passwd"
    echo "${made%%:*}:x:${made#*:}:" >>"$group"
done
[ -e "$root/etc/nsswitch.conf" ] || echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
id_of() { [[ $1 =~ ^[0-9]+$ ]] && echo "$1" || awk -F: -v name="$1" '$1 == name { print $3; exit }' "$passwd"; }

# -- the layer: everything is root's, then the folders that are not
for volume in "${volumes[@]}"; do dirs+=("$volume:${user:-root}"); done
for dir in "${dirs[@]}"; do mkdir -p "$root/${dir%%:*}"; done
plain=(--mtime=@0 --numeric-owner --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime)
declare -A owners=()
for dir in "${dirs[@]}"; do
    [[ $dir == *:* ]] || continue
    owner=$(id_of "${dir##*:}")
    [ -n "$owner" ] || die "the folder ${dir%%:*} shall belong to ${dir##*:}, a user that the image does not have"
    path=${dir%%:*} path=${path#/}
    owners[./${path%/}]=$owner
done
# Every path once: engines refuse a layer that names one twice.
(cd "$root" && find . -print0 | sort -z) >"$scratch/paths"
printf '%s\0' "${!owners[@]}" >"$scratch/owned"
{ [ ${#owners[@]} -gt 0 ] && grep -zvxF -f <(tr '\0' '\n' <"$scratch/owned") "$scratch/paths" || cat "$scratch/paths"; } >"$scratch/of-root"
tar "${plain[@]}" --owner=0 --group=0 --no-recursion --null -C "$root" -T "$scratch/of-root" -cf "$scratch/layer.tar"
while read -r path; do
    [ -n "$path" ] || continue
    tar "${plain[@]}" --owner="${owners[$path]}" --group="${owners[$path]}" --no-recursion -C "$root" -rf "$scratch/layer.tar" "$path"
done < <(printf '%s\n' "${!owners[@]}" | sort)

# -- the documents
json_string() {
    local text=$1
    text=${text//\\/\\\\} text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/\\t}
    printf '"%s"' "$text"
}
json_list() { local sep='' item; printf '['; for item in "$@"; do printf '%s' "$sep"; json_string "$item"; sep=,; done; printf ']'; }
json_keys() { local sep='' item; printf '{'; for item in "$@"; do printf '%s' "$sep"; json_string "$item"; printf ':{}'; sep=,; done; printf '}'; }
json_map() {
    local sep='' item
    printf '{'
    for item in "$@"; do printf '%s' "$sep"; json_string "${item%%=*}"; printf ':'; json_string "${item#*=}"; sep=,; done
    printf '}'
}
layout=$scratch/layout
mkdir -p "$layout/blobs/sha256"
blob() { # moves a file to its digest and prints the digest
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    mv "$1" "$layout/blobs/sha256/$digest"
    echo "$digest"
}
size_of() { stat -c %s "$layout/blobs/sha256/$1"; }

diff_id=$(sha256sum "$scratch/layer.tar" | cut -d' ' -f1)
gzip -n -6 "$scratch/layer.tar"
layer=$(blob "$scratch/layer.tar.gz")
architecture=$(dpkg --print-architecture)
[ "$architecture" = armhf ] && architecture=arm
[ "$architecture" = i386 ] && architecture=386
[ "$architecture" = ppc64el ] && architecture=ppc64le
has_path=''
for env in "${envs[@]}"; do [[ $env == PATH=* ]] && has_path=yes; done
[ -n "$has_path" ] || envs=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${envs[@]}")
for i in "${!ports[@]}"; do [[ ${ports[i]} == */* ]] || ports[i]=${ports[i]}/tcp; done
{
    printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{' "$architecture"
    printf '"Env":%s' "$(json_list "${envs[@]}")"
    [ -z "$user" ] || printf ',"User":%s' "$(json_string "$user")"
    [ -z "$entrypoint" ] || printf ',"Entrypoint":%s' "$entrypoint"
    [ -z "$cmd" ] || printf ',"Cmd":%s' "$cmd"
    [ -z "$workdir" ] || printf ',"WorkingDir":%s' "$(json_string "$workdir")"
    [ -z "$stop_signal" ] || printf ',"StopSignal":%s' "$(json_string "$stop_signal")"
    [ ${#ports[@]} -eq 0 ] || printf ',"ExposedPorts":%s' "$(json_keys "${ports[@]}")"
    [ ${#volumes[@]} -eq 0 ] || printf ',"Volumes":%s' "$(json_keys "${volumes[@]}")"
    [ ${#labels[@]} -eq 0 ] || printf ',"Labels":%s' "$(json_map "${labels[@]}")"
    printf '},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},' "$diff_id"
    printf '"history":[{"created":"1970-01-01T00:00:00Z","created_by":%s}]}' "$(json_string "pack-image ${debs[*]}")"
} >"$scratch/config"
config=$(blob "$scratch/config")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}]}' \
    "$config" "$(size_of "$config")" "$layer" "$(size_of "$layer")" >"$scratch/manifest"
manifest=$(blob "$scratch/manifest")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":%s,"org.opencontainers.image.ref.name":%s}}]}' \
    "$manifest" "$(size_of "$manifest")" "$(json_string "$name")" "$(json_string "${name##*:}")" >"$layout/index.json"
printf '[{"Config":"blobs/sha256/%s","RepoTags":[%s],"Layers":["blobs/sha256/%s"]}]' "$config" "$(json_string "$name")" "$layer" >"$layout/manifest.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
tar "${plain[@]}" --sort=name --owner=0 --group=0 -C "$layout" -cf "$scratch/image.tar" blobs index.json manifest.json oci-layout
mv "$scratch/image.tar" "$cached"
deliver
say "$name: $(du -h "$out" | cut -f1) in $out"
