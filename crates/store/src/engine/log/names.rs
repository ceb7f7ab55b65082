//! The names of the log's files.

/// A segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("log-{number:016x}")
}

/// The file of the checkpoint that segment `number` continues.
pub(crate) fn checkpoint_name(number: u64) -> String {
    format!("checkpoint-{number:016x}")
}

/// Where a checkpoint is written before it is complete.
pub(crate) const CHECKPOINT_TEMPORARY: &str = "checkpoint.tmp";

/// A segment that is in a checkpoint, kept to become the next one.
pub(crate) const SPARE: &str = "spare";

/// The segments and checkpoints in a folder, by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub segments: Vec<u64>,
    pub checkpoints: Vec<u64>,
    /// Files that a crash left half-written.
    pub temporary: Vec<String>,
    pub identity: bool,
    pub spare: bool,
}

impl Names {
    /// Whether there is nothing of a store.
    pub fn is_empty(&self) -> bool {
        *self == Names::default()
    }

    pub fn sort(names: Vec<String>) -> Names {
        let number = |hex: &str| (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok()).flatten();
        let mut sorted = Names::default();
        for name in names {
            if let Some(n) = name.strip_prefix("log-").and_then(number) {
                sorted.segments.push(n);
            } else if let Some(n) = name.strip_prefix("checkpoint-").and_then(number) {
                sorted.checkpoints.push(n);
            } else if name.ends_with(".tmp") {
                sorted.temporary.push(name);
            } else if name == super::identity::NAME {
                sorted.identity = true;
            } else if name == SPARE {
                sorted.spare = true;
            }
        }
        sorted.segments.sort_unstable();
        sorted.checkpoints.sort_unstable();
        sorted
    }
}
