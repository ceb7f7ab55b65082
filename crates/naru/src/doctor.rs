//! `naru doctor`: what on this machine is missing or in the way, and how to mend it.

mod checks;
mod network;

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::cli::{DoctorOptions, Place};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was seen.
    pub found: String,
    /// What to do; empty when nothing is to be done.
    pub mend: String,
}

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Something works less well.
    Warning,
    /// Containers will not run, or not be reached.
    Error,
}

impl Finding {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), mend: String::new() }
    }

    pub fn warning(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), mend: mend.into() }
    }

    pub fn error(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Error, found: found.into(), mend: mend.into() }
    }
}

/// Looks at everything; fails when something stands in the way.
pub(crate) async fn run(place: &Place, options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let findings = checks::all(place).await;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if options.format == "json" {
        println!("{}", serde_json::to_string_pretty(&json!({"findings": findings, "worst": worst}))?);
    } else {
        let colour = *crate::output::COLOUR;
        for finding in &findings {
            let (mark, paint) = match finding.level {
                Level::Ok => ("ok  ", "32"),
                Level::Warning => ("warn", "33"),
                Level::Error => ("FAIL", "31"),
            };
            let mark = if colour { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() };
            println!("{mark}  {:<22} {}", finding.check, finding.found);
            if !finding.mend.is_empty() {
                println!("      {:<22} → {}", "", finding.mend);
            }
        }
    }
    Ok(if worst == Level::Error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
