//! What the user sees: errors with their causes, tables, colours only on terminals.

mod table;

use std::io::{IsTerminal, Write};
use std::sync::{LazyLock, OnceLock};

pub(crate) use table::Table;

/// Whether standard output is a person's terminal that wants colour.
pub(crate) static COLOUR: LazyLock<bool> = LazyLock::new(|| coloured(std::io::stdout().is_terminal()));

/// The same of standard error, where progress and faults go.
pub(crate) static COLOUR_ERR: LazyLock<bool> = LazyLock::new(|| coloured(std::io::stderr().is_terminal()));

/// Whether progress is drawn over, rather than told line by line.
pub(crate) static LIVE: LazyLock<bool> = LazyLock::new(|| match CHOSEN.get().map(|(_, progress)| progress.as_str()) {
    Some("tty") => true,
    Some("plain") => false,
    _ => std::io::stderr().is_terminal() && *COLOUR_ERR,
});

/// `--ansi` and `--progress`, where given.
static CHOSEN: OnceLock<(String, String)> = OnceLock::new();

/// Takes the choices of the command line, before anything is printed.
pub(crate) fn choose(ansi: Option<&str>, progress: Option<&str>) {
    let _ = CHOSEN.set((ansi.unwrap_or_default().to_owned(), progress.unwrap_or_default().to_owned()));
}

fn coloured(terminal: bool) -> bool {
    match CHOSEN.get().map(|(ansi, _)| ansi.as_str()) {
        Some("never") => false,
        Some("always") => true,
        // An empty NO_COLOR asks for nothing (no-color.org).
        _ => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && terminal_is_able(),
    }
}

fn terminal_is_able() -> bool {
    std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

/// The palette of services' names, in the order they first speak.
const PALETTE: [&str; 8] = ["36", "33", "32", "35", "34", "96", "93", "92"];

/// `text` in the colour of the `index`-th service.
pub(crate) fn painted(text: &str, index: usize, colour: bool) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", PALETTE[index % PALETTE.len()]) } else { text.to_owned() }
}

/// An error and what caused it, one a line.
pub(crate) fn error(error: &anyhow::Error) {
    let (red, plain) = if *COLOUR_ERR { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // The path of a refused request says nothing to who typed a verb; the reason, which follows, does.
        if let Some(naru_client::ClientError::Refused { .. }) = cause.downcast_ref()
            && !lines.is_empty()
        {
            continue;
        }
        // A cause that only repeats what stands above says nothing new.
        if lines.last().is_none_or(|last| !last.ends_with(&text)) {
            lines.push(text);
        }
    }
    let text = lines.join(": ");
    // Standard error may be a file on a full disk: that is no reason to panic.
    let _ = writeln!(std::io::stderr(), "{red}naru:{plain} {text}");
}

/// Something the user should know.
pub(crate) fn warn(text: impl std::fmt::Display) {
    let (yellow, plain) = if *COLOUR_ERR { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(std::io::stderr(), "{yellow}warning:{plain} {text}");
}

/// A value as YAML.
pub(crate) fn yaml(value: &serde_json::Value) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// How long ago, in one or two units, as `3 minutes ago`.
pub(crate) fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds.max(0) {
        s if s < 60 => (s, "second"),
        s if s < 3_600 => (s / 60, "minute"),
        s if s < 86_400 * 2 => (s / 3_600, "hour"),
        s if s < 86_400 * 14 => (s / 86_400, "day"),
        s if s < 86_400 * 60 => (s / (86_400 * 7), "week"),
        s if s < 86_400 * 730 => (s / (86_400 * 30), "month"),
        s => (s / (86_400 * 365), "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A size in powers of 1000 with at most three digits that say something, as `docker images` prints it.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < 4 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{}", ["B", "kB", "MB", "GB", "TB"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_read_well() {
        assert_eq!((size(999), size(1_500), size(12_345_678)), ("999B".into(), "1.50kB".into(), "12.3MB".into()));
        assert_eq!((ago(1), ago(125), ago(86_400 * 3)), ("1 second".into(), "2 minutes".into(), "3 days".into()));
    }
}
