# Removes everything that a test host made, when the test process has ended in whatever way: its end closes standard
# input. Called with NAME, FOLDER, PROGRAM and CGROUP in the environment, so that the folder stands in no argument.
cat >/dev/null
namespace=/run/netns/$NAME

# The program's own way first; never where a unit of this machine's own would be stopped by it.
if [ ! -e /etc/systemd/system/naru.service ] && [ -e "$namespace" ]; then
    nsenter --net="$namespace" -- timeout 60 "$PROGRAM" --state-dir "$FOLDER/state" --run-dir "$FOLDER/run" \
        uninstall --volumes --yes >"$FOLDER/uninstall.log" 2>&1
fi

# What is left: processes of this host by their arguments and control groups.
groups() { find /sys/fs/cgroup -maxdepth 4 -type d -name "$CGROUP" 2>/dev/null; }
for round in 1 2 3 4 5; do
    left=
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = $$ ] && continue
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF -- "$FOLDER/"; then kill -KILL "$pid" 2>/dev/null && left=yes; fi
    done
    for group in $(groups); do
        for pid in $(find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u); do
            kill -KILL "$pid" 2>/dev/null && left=yes
        done
    done
    [ -n "$left" ] || break
    sleep 0.1
done
awk -v folder="$FOLDER/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount -l "$mount" 2>/dev/null
done
for group in $(groups); do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; done
ip netns del "$NAME" 2>/dev/null
ip netns del "$NAME-out" 2>/dev/null
# With the log kept where somebody wants to look at it.
[ -z "$KEEP" ] || for log in "$FOLDER"/*.log "$FOLDER"/state/*.log; do
    cp "$log" "$KEEP/${FOLDER##*/}-${log##*/}" 2>/dev/null
done
rm -rf --one-file-system "$FOLDER"
exit 0
