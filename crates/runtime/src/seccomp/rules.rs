//! What a filter says, before it is instructions.

use std::collections::BTreeMap;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    /// Fails with this error number.
    Errno(u16),
    KillThread,
    KillProcess,
    Trap,
    Log,
    Trace(u16),
}

impl Action {
    /// The kernel's number.
    pub(super) fn value(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
            Self::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::Log => libc::SECCOMP_RET_LOG,
            Self::Trace(data) => libc::SECCOMP_RET_TRACE | u32::from(data),
        }
    }
}

/// A comparison of one 64-bit argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    /// The bits of `mask` have this value.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// An action with all the comparisons (argument, comparison) that must hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) when: Vec<(u8, Compare)>,
    pub(super) action: Action,
}

impl Clause {
    pub(super) fn always(action: Action) -> Self {
        Self { when: Vec::new(), action }
    }
}

/// A whole filter. The first clause of a call that holds decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) calls: BTreeMap<u32, Vec<Clause>>,
    /// For calls that this program knows and no clause decides.
    pub(super) otherwise: Action,
    /// For calls that this program does not know: "not implemented" lets programs fall back to an older call.
    pub(super) unknown: Action,
}
