//! What the system says of this process, read when somebody asks.

use std::fmt::Write as _;
use std::fs;

/// The clock ticks of `/proc`, a second: fixed by the kernel's interface on all machines that we run on.
const TICKS: f64 = 100.0;
/// The size of a page in `/proc`'s counts, in bytes, where the kernel does not say otherwise.
const PAGE: u64 = 4096;

/// Writes what is known.
pub(super) fn write(out: &mut String) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may hold anything, also spaces; what follows it does not.
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or_else(Vec::new, |(_, rest)| rest.split(' ').collect());
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let mut tell = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    };
    let cpu = field(14).zip(field(15)).map(|(user, system)| ((user + system) as f64 / TICKS).to_string());
    tell("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
    let open = fs::read_dir("/proc/self/fd").ok().map(|all| all.count().to_string());
    tell("process_open_fds", "gauge", "Number of open file descriptors.", open);
    tell("process_max_fds", "gauge", "Maximum number of open file descriptors.", most_files());
    let resident = field(24).map(|pages| (pages * PAGE).to_string());
    tell("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident);
    let virtual_size = field(23).map(|bytes| bytes.to_string());
    tell("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", virtual_size);
    let started = field(22).zip(booted()).map(|(ticks, boot)| (boot + ticks as f64 / TICKS).to_string());
    tell("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", started);
}

/// How many files may be open.
fn most_files() -> Option<String> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// When the machine was started, in seconds since 1970.
fn booted() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_is_known() {
        let mut text = String::new();
        super::write(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing in {text}")).parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 65_536.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") > 3.0);
        let age = jiff::Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
