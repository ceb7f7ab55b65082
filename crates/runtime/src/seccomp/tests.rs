//! Filters are run in a small interpreter, so that every rule can be tried without being confined by it.

use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const PERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const NOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// What the kernel would return, and after how many instructions.
fn run(program: &[u8], architecture: u32, number: i64, arguments: [u64; 6]) -> (u32, usize) {
    let mut data = Vec::new();
    data.extend_from_slice(&(number as u32).to_ne_bytes());
    data.extend_from_slice(&architecture.to_ne_bytes());
    data.extend_from_slice(&0u64.to_ne_bytes());
    for argument in arguments {
        data.extend_from_slice(&argument.to_ne_bytes());
    }
    let (mut at, mut accumulator, mut steps) = (0usize, 0u32, 0);
    loop {
        let i = &program[at * 8..at * 8 + 8];
        let (code, yes, no) = (u16::from_ne_bytes([i[0], i[1]]), i[2], i[3]);
        let value = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
        at += 1;
        steps += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { yes } else { no });
        match code {
            0x20 => {
                let bytes = &data[value as usize..value as usize + 4];
                accumulator = u32::from_ne_bytes(bytes.try_into().unwrap());
            }
            0x54 => accumulator &= value,
            0x05 => at += value as usize,
            0x15 => branch(accumulator == value),
            0x25 => branch(accumulator > value),
            0x35 => branch(accumulator >= value),
            0x06 => return (value, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn default_for(capabilities: Capabilities) -> Vec<u8> {
    compile(&Seccomp::Default, capabilities).unwrap().unwrap()
}

fn result(program: &[u8], number: i64, first: u64) -> u32 {
    run(program, ARCHITECTURE, number, [first, 0, 0, 0, 0, 0]).0
}

#[test]
fn the_default_allows_ordinary_work_and_refuses_the_rest() {
    let program = default_for(Capabilities::container_default());
    for number in
        [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_mmap, libc::SYS_futex, libc::SYS_chroot]
    {
        assert_eq!(result(&program, number, 0), ALLOW, "call {number}");
    }
    for number in [
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
        libc::SYS_reboot,
    ] {
        assert_eq!(result(&program, number, 0), PERM, "call {number}");
    }
    assert_eq!(result(&program, libc::SYS_clone3, 0), NOSYS);
    assert_eq!(result(&program, 5000, 0), NOSYS, "a call of the future");
    assert_eq!(result(&program, 0x4000_0000, 0), NOSYS, "a call of the x32 table");
    assert_eq!(run(&program, 0x4000_0003, libc::SYS_read, [0; 6]).0, NOSYS, "a 32-bit program");
}

#[test]
fn arguments_decide_where_they_should() {
    let program = default_for(Capabilities::container_default());
    assert_eq!(result(&program, libc::SYS_clone, libc::SIGCHLD as u64), ALLOW);
    assert_eq!(result(&program, libc::SYS_clone, libc::CLONE_NEWNS as u64), PERM);
    assert_eq!(result(&program, libc::SYS_clone, libc::CLONE_NEWUSER as u64 | 17), PERM);
    assert_eq!(result(&program, libc::SYS_personality, 0x2_0008), ALLOW);
    assert_eq!(result(&program, libc::SYS_personality, 0x40_0000), PERM);
    assert_eq!(result(&program, libc::SYS_socket, libc::AF_INET as u64), ALLOW);
    assert_eq!(result(&program, libc::SYS_socket, libc::AF_VSOCK as u64), PERM);
}

#[test]
fn capabilities_open_their_calls() {
    let mut held = Capabilities::container_default();
    held.insert("SYS_ADMIN".parse().unwrap());
    let program = default_for(held);
    for number in [libc::SYS_mount, libc::SYS_unshare, libc::SYS_clone3, libc::SYS_setns] {
        assert_eq!(result(&program, number, 0), ALLOW, "call {number}");
    }
    assert_eq!(result(&program, libc::SYS_keyctl, 0), PERM);
    assert_eq!(result(&default_for(Capabilities::NONE), libc::SYS_chroot, 0), PERM);
}

#[test]
fn every_call_is_decided_quickly() {
    let program = default_for(Capabilities::container_default());
    let worst = (0..470).map(|number| run(&program, ARCHITECTURE, number, [0; 6]).1).max();
    assert!(worst < Some(30), "{worst:?} instructions");
}

#[test]
fn profiles_of_ones_own() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[
        {"names":["read","no_such_call"],"action":"SCMP_ACT_ALLOW"},
        {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2,"op":"SCMP_CMP_LE"}]},
        {"names":["write"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":1,"value":4294967296,"op":"SCMP_CMP_GT"},{"index":2,"value":7,"valueTwo":5,"op":"SCMP_CMP_MASKED_EQ"}]},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#;
    let program = compile(&Seccomp::Profile(text.into()), Capabilities::NONE).unwrap().unwrap();
    assert_eq!(result(&program, libc::SYS_read, 0), ALLOW);
    assert_eq!(result(&program, libc::SYS_socket, 2), ALLOW);
    assert_eq!(result(&program, libc::SYS_socket, 3), NOSYS);
    assert_eq!(result(&program, libc::SYS_mount, 0), NOSYS);
    assert_eq!(result(&program, libc::SYS_kill, 0), libc::SECCOMP_RET_KILL_PROCESS);
    let write = |second, third| run(&program, ARCHITECTURE, libc::SYS_write, [0, second, third, 0, 0, 0]).0;
    assert_eq!(write((1 << 32) + 1, 13), ALLOW);
    assert_eq!(write(1 << 32, 13), NOSYS, "not greater");
    assert_eq!(write(1 << 33, 12), NOSYS, "other bits");
}

#[test]
fn malformed_profiles_are_refused() {
    for text in ["", "{}", r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#] {
        assert!(compile(&Seccomp::Profile(text.into()), Capabilities::NONE).is_err(), "{text}");
    }
    assert_eq!(compile(&Seccomp::Unconfined, Capabilities::NONE).unwrap(), None);
}

mod comparisons {
    use proptest::prelude::*;

    use super::{
        super::{assemble::assemble, rules::*},
        *,
    };

    fn holds(value: u64, comparison: Compare) -> bool {
        match comparison {
            Compare::Equal(v) => value == v,
            Compare::NotEqual(v) => value != v,
            Compare::Less(v) => value < v,
            Compare::LessOrEqual(v) => value <= v,
            Compare::GreaterOrEqual(v) => value >= v,
            Compare::Greater(v) => value > v,
            Compare::Masked { mask, value: v } => value & mask == v,
        }
    }

    fn interesting() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0..4u64, (0..4u64).prop_map(|v| (1 << 32) + v), Just(u64::MAX), Just(u32::MAX.into())]
    }

    proptest! {
        #[test]
        fn mean_what_they_say(value in interesting(), v in interesting(), mask in interesting(), kind in 0..7u8) {
            let comparison = match kind {
                0 => Compare::Equal(v),
                1 => Compare::NotEqual(v),
                2 => Compare::Less(v),
                3 => Compare::LessOrEqual(v),
                4 => Compare::GreaterOrEqual(v),
                5 => Compare::Greater(v),
                _ => Compare::Masked { mask, value: v & mask },
            };
            let clause = Clause { when: vec![(3, comparison)], action: Action::Allow };
            let rules = Rules {
                calls: [(libc::SYS_read as u32, vec![clause])].into(),
                otherwise: Action::Errno(1),
                unknown: Action::Errno(38),
            };
            let program = assemble(&rules).unwrap();
            let (got, _) = run(&program, ARCHITECTURE, libc::SYS_read, [0, 0, 0, value, 0, 0]);
            prop_assert_eq!(got == ALLOW, holds(value, comparison));
        }
    }
}
