# Runs a Docker engine in namespaces of its own until standard input ends, then removes every trace of it.
# Called with NAME and FOLDER in the environment. The engine's processes live in a PID namespace: when its first one is
# killed, all are gone, and with its mount namespace all mounts. Those of one swarm are on one wire: a bridge in the
# namespace that the one called WIRE makes; each has the address 198.18.0.NUMBER.
ip netns add "$NAME"
ip -n "$NAME" link set lo up
if [ "$WIRE" = "$NAME" ]; then
    ip netns add "$NAME-out"
    ip -n "$NAME-out" link set lo up
    ip -n "$NAME-out" link add br0 type bridge
    ip -n "$NAME-out" link set br0 up
fi
ip -n "$NAME" link add eth0 type veth peer name "port$NUMBER" netns "$WIRE-out"
ip -n "$NAME" address add "198.18.0.$NUMBER/24" dev eth0
ip -n "$NAME" link set eth0 up
ip -n "$WIRE-out" link set "port$NUMBER" master br0 up
# No default route: looking for a registry fails at once instead of after a timeout.
mkdir -p "$FOLDER/data" "$FOLDER/run"
nsenter --net="/run/netns/$NAME" -- unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    sh -c 'mount -t tmpfs tmpfs /run && exec dockerd --data-root "$FOLDER/data" --exec-root "$FOLDER/run" \
        --pidfile "$FOLDER/docker.pid" -H "unix://$FOLDER/docker.sock" --cgroup-parent "/$NAME"' \
    </dev/null >"$FOLDER/dockerd.log" 2>&1 &
engine=$!
echo "$engine" >"$FOLDER/engine"
cat >/dev/null
kill -KILL "$engine"
wait "$engine" 2>/dev/null
for round in 1 2 3 4 5 6 7 8 9 10; do
    groups=$(find /sys/fs/cgroup -maxdepth 3 -type d -name "$NAME")
    [ -n "$groups" ] || break
    for group in $groups; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; done
    sleep 0.2
done
ip netns del "$NAME"
[ "$WIRE" != "$NAME" ] || ip netns del "$NAME-out"
rm -rf --one-file-system "$FOLDER"
exit 0
