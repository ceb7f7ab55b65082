//! Processor time and memory of the processes that serve the API.

use crate::memory::weigh;

/// The processes of one server.
pub struct Server(pub Vec<u32>);

impl Server {
    /// Seconds of processor time that they took.
    pub fn cpu(&self) -> f64 {
        let of = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            (ticks(11) + ticks(12)) / 100.0 // user and system time, in hundredths of a second on every Linux
        };
        self.0.iter().map(of).sum()
    }

    /// Megabytes (2^20) that they hold.
    pub fn resident(&self) -> f64 {
        self.0.iter().map(|pid| weigh(*pid as i32).resident).sum()
    }
}
