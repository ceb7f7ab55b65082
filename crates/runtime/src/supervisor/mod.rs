//! The supervisor: one small single-threaded process a pod.

/// Entry of the hidden subcommand `naru supervisor`. Must be called before any thread exists. Never returns.
pub fn supervisor_main(_args: impl Iterator<Item = std::ffi::OsString>) -> ! {
    std::process::exit(64)
}
