//! What a container may not do, and what it may when told so.

use naru_runtime::pod::{Capabilities, ProcessPolicy, Rlimit, RunAs, Runtime, Seccomp};

use crate::support::machine;

#[tokio::test]
async fn capabilities_are_the_small_set() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let status = m.output(&uid, "a", "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status").await;
    let value = |key: &str, text: &str| {
        let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
        line.split_whitespace().last().unwrap_or_default().to_owned()
    };
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(value(set, &status), "00000000a80425fb", "{status}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(value(set, &status), "0000000000000000", "{status}");
    }
    assert_eq!((value("NoNewPrivs", &status).as_str(), value("Seccomp:", &status).as_str()), ("0", "2"));

    let mut config = m.container(&uid, "b", "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status");
    let only = Capabilities::adjusted(&["NET_BIND_SERVICE"], &["ALL"]).unwrap();
    config.policy = ProcessPolicy { capabilities: only, ambient: only, no_new_privileges: true, ..config.policy };
    config.user = RunAs { user: "web".into(), ..RunAs::default() };
    m.run(&uid, config).await;
    let status = m.log(&uid, "b");
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set, &status), "0000000000000400", "{status}");
    }
    assert_eq!((value("NoNewPrivs", &status).as_str(), value("Seccomp:", &status).as_str()), ("1", "2"));
}

#[tokio::test]
async fn users_by_name_and_number() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "id; echo $HOME; grep CapEff /proc/self/status; echo x > /dev/stdout");
    config.user = RunAs { user: "web".into(), groups: vec![55], ..RunAs::default() };
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(text.contains("uid=101(web) gid=102(web) groups=55,102(web),200(logs)"), "{text}");
    assert!(text.contains("/srv/web") && text.contains("0000000000000000") && text.ends_with("x\n"), "{text}");
    let mut config = m.container(&uid, "b", "id");
    config.user = RunAs { user: "4321:8765".into(), ..RunAs::default() };
    m.run(&uid, config).await;
    assert!(m.log(&uid, "b").contains("uid=4321 gid=8765"), "{}", m.log(&uid, "b"));
}

#[tokio::test]
async fn the_default_filter_refuses_mounts_and_namespaces() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    // With the capability but the default container's filter: only the filter can refuse.
    let script = "mount -t tmpfs none /tmp && echo mounted; unshare -m true && echo unshared; chroot / true && echo ok";
    let mut config = m.container(&uid, "a", script);
    let filter = config.policy.clone();
    config.policy.capabilities = Capabilities::adjusted(&["SYS_ADMIN"], &[]).unwrap();
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(text.contains("mounted\n") && text.contains("unshared\n"), "SYS_ADMIN does not open the filter: {text}");
    let mut config = m.container(&uid, "b", script);
    config.policy = filter;
    m.run(&uid, config).await;
    let text = m.log(&uid, "b");
    assert!(!text.contains("mounted\n") && !text.contains("unshared\n") && text.contains("ok\n"), "{text}");
    assert!(text.contains("not permitted"), "{text}");

    // Without capabilities in the way, so that what refuses is the profile.
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#;
    let mut config = m.container(&uid, "c", "mkdir /tmp/x || echo refused");
    config.policy.seccomp = Seccomp::Profile(profile.into());
    m.run(&uid, config).await;
    assert!(m.log(&uid, "c").contains("refused"), "{}", m.log(&uid, "c"));
}

#[tokio::test]
async fn kernel_files_are_masked_and_protected() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let defaults = m.container(&uid, "a", "");
    assert!(
        defaults.masked_paths.contains(&"/proc/kcore".into())
            && defaults.masked_paths.contains(&"/sys/firmware".into())
    );
    // Not every kernel has those: two that every one has stand for them.
    let script = "exec 2>&1; wc -c < /proc/version; ls /sys/kernel | wc -l; echo 1 > /proc/sys/kernel/panic; touch /sys/x; \
                  cat /proc/1/comm; true";
    let mut config = m.container(&uid, "a", script);
    config.masked_paths.extend(["/proc/version".into(), "/sys/kernel".into(), "/proc/not/there".into()]);
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(text.starts_with("0\n0\n") && text.ends_with("sh\n"), "{text}");
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
}

#[tokio::test]
async fn a_read_only_root_takes_no_file() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "exec 2>&1; touch /x; touch /dev/shm/y && echo shm; pwd");
    config.readonly_root = true;
    config.cwd = "/made/for/it".into();
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(
        text.contains("Read-only file system") && text.contains("shm\n") && text.ends_with("/made/for/it\n"),
        "{text}"
    );
}

#[tokio::test]
async fn devices_are_the_standard_ones() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let script = "exec 2>&1; ls /dev | tr '\\n' ' '; echo; head -c 4 /dev/zero | wc -c; echo x > /dev/null; \
                  mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem; echo end";
    let text = m.output(&uid, "a", script).await;
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ";
    assert_eq!(text.lines().next(), Some(expected));
    assert_eq!(text.lines().nth(1), Some("4"));
    assert!(text.contains("not permitted") && text.ends_with("end\n"), "memory can be read: {text}");
    let mut config = m.container(&uid, "b", "ls -l /dev/loop-of-mine | cut -c 1; ls -d /dev/tty");
    config.devices.list.push(naru_runtime::pod::DeviceSpec {
        host_path: "/dev/null".into(),
        container_path: "/dev/loop-of-mine".into(),
        access: "rw".into(),
    });
    m.run(&uid, config).await;
    assert_eq!(m.log(&uid, "b"), "c\n/dev/tty\n");
}

#[tokio::test]
async fn privileged_lifts_it_all() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let script = "grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp && echo mounted; \
                  ls /dev | wc -l; touch /sys/fs/cgroup && echo writable";
    let mut config = m.container(&uid, "a", script);
    config.make_privileged();
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(text.starts_with("Seccomp:\t0\nmounted\n") && text.ends_with("writable\n"), "{text}");
    let nodes: usize = text.lines().nth(2).unwrap().parse().unwrap();
    assert!(nodes > 15, "host devices are missing: {text}");
}

#[tokio::test]
async fn kernel_parameters_are_the_pods_own() {
    let Some(mut m) = machine() else { return };
    let key = "net.ipv4.ip_unprivileged_port_start";
    let uid = m
        .pod_with("p", |p| {
            p.sysctls.insert(key.into(), "77".into());
            p.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
        })
        .await;
    let text =
        m.output(&uid, "a", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced").await;
    assert_eq!(text, "77\n1\n");
    assert_ne!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap().trim(), "77");
    let mut config = naru_runtime::pod::PodConfig::new("bad".try_into().unwrap(), "default", "bad");
    config.sysctls.insert("kernel.panic".into(), "1".into());
    let error = m.pods.create(config).await.unwrap_err();
    assert!(error.to_string().contains("kernel.panic"), "{error}");
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default(), "the refused pod left something");
}

#[tokio::test]
async fn process_limits_are_set_or_warned_about() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let limit = |name: &str, soft, hard| Rlimit { name: name.into(), soft, hard };
    let mut config = m.container(&uid, "a", "ulimit -S -n; ulimit -H -n; ulimit -c");
    config.policy.rlimits = vec![limit("nofile", 300, 400), limit("core", 0, 0)];
    m.run(&uid, config).await;
    assert_eq!(m.log(&uid, "a"), "300\n400\n0\n");
    let mut config = m.container(&uid, "b", "true");
    config.policy.rlimits = vec![limit("nofile", 9_000_000_000, 9_000_000_000)];
    config.oom_score_adj = Some(-800);
    let started = m.start(&uid, config).await.unwrap();
    let held = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = held.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap().to_owned();
    let may_raise = u64::from_str_radix(&held, 16).unwrap() & 1 << 24 != 0;
    assert_eq!(started.warnings.is_empty(), may_raise, "{:?}", started.warnings);
    assert!(may_raise || started.warnings.iter().any(|w| w.contains("-800")), "{:?}", started.warnings);
}
