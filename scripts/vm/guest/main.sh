#!/bin/bash
# Runs the tests of this boot, named by naru.stage= on the kernel's command line.
disk=/run/disk
. "$disk/guest/lib.sh"
stage=$(sed -n 's/.*naru.stage=\([a-z]*\).*/\1/p' /proc/cmdline)
report "NOTE boot took $(cut -d. -f1 /proc/uptime) s to $(systemctl is-system-running 2>/dev/null)"
. "$disk/guest/$stage.sh"
[ -z "${tests:-}" ] || run_tests "${tests[@]}"
after_tests
