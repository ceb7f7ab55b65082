//! How figures are printed: ours, the budget, and the peer's with the ratio.

use std::time::Duration;

/// What the peer needs for the same.
pub enum Peer {
    /// Measured in this run.
    Here(&'static str, Vec<Duration>),
    /// Measured before on such a machine, with where.
    Before(&'static str),
    /// There is none for this.
    None,
}

/// Prints times: their median and p95 beside the budget in milliseconds (of the median, and of the p95 where it has one).
pub fn times(what: &str, times: &[Duration], budget: Option<(f64, Option<f64>)>, peer: Peer) {
    let (median, p95) = (at(times, 50), at(times, 95));
    let mut line = format!("  {what:<58} median {median:>9.1} ms  p95 {p95:>9.1} ms  n {:<3}", times.len());
    if let Some((most, most_p95)) = budget {
        let met = median <= most && most_p95.is_none_or(|most| p95 <= most);
        let tail = most_p95.map_or(String::new(), |most| format!(", p95 {most} ms"));
        line += &format!("  budget {most} ms{tail}: {}", verdict(met));
    }
    println!("{line}");
    match peer {
        Peer::Here(name, theirs) if theirs.is_empty() => println!("    {name}: gave no figure"),
        Peer::Here(name, theirs) => {
            let (their, their_p95) = (at(&theirs, 50), at(&theirs, 95));
            let (name, ratio) = (format!("{name}, in this run"), their / median);
            println!(
                "    {name:<56} median {their:>9.1} ms  p95 {their_p95:>9.1} ms  n {:<3}  ratio {ratio:.1}",
                theirs.len()
            );
        }
        Peer::Before(text) => println!("    peer, measured before: {text}"),
        Peer::None => {}
    }
}

/// Prints one value: less than the budget is good.
pub fn value(what: &str, value: f64, unit: &str, budget: Option<f64>) {
    let budget = budget.map_or(String::new(), |most| format!("  budget {most} {unit}: {}", verdict(value <= most)));
    println!("  {what:<58} {value:>9.2} {unit}{budget}");
}

/// Prints a rate: more than the budget is good.
pub fn rate(what: &str, value: f64, unit: &str, budget: Option<f64>) {
    let budget = budget.map_or(String::new(), |least| format!("  budget {least} {unit}: {}", verdict(value >= least)));
    println!("  {what:<58} {value:>9.1} {unit}{budget}");
}

/// Prints a remark below a figure.
pub fn note(text: &str) {
    println!("    {text}");
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// The value below which so many of a hundred times lie, in milliseconds.
pub fn at(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
