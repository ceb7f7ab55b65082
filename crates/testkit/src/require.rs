//! What a test needs of the machine; without it the test says so loudly and ends.

/// Says that a test was skipped; always gives `None`.
pub fn skipped<T>(why: &str) -> Option<T> {
    // To standard error itself: the test runner captures `eprintln!` of passed tests, and a skipped test must be seen.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {why}\n").as_bytes());
    None
}

/// Whether one of `programs` is missing here, which is then said.
pub fn missing(programs: &[&str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let absent = programs.iter().find(|name| !std::env::split_paths(&paths).any(|folder| folder.join(name).is_file()));
    absent.is_some_and(|name| skipped::<()>(&format!("the program {name} is not installed")).is_none())
}

/// Whether the test runs as root, which real containers need; says so when not.
pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root() || skipped::<()>("real containers need root").is_some()
}
