//! The words with which the unit starts the server: those that were given now, or else those that it had.

use anyhow::{Context, bail};
use clap::Parser;

use crate::cli::{Cli, InstallOptions, Place};

/// The words of `naru install` that are the server's, checked as the server itself would.
///
/// # Errors
/// When the server would not start with them.
pub(super) fn of(options: &InstallOptions) -> anyhow::Result<Vec<String>> {
    let backup = &options.backup;
    let mut words = Vec::new();
    if let Some(to) = &backup.backup_to {
        if backup.backup_key_file.is_none() && !backup.backup_unsealed {
            bail!(
                "the unit knows no variables of yours: give the backups' key with --backup-key-file FILE (`naru backup key` \
                 makes one), or --backup-unsealed"
            );
        }
        words.extend(["--backup-to".to_owned(), to.clone()]);
        words.extend(["--backup-every".to_owned(), format!("{}s", backup.backup_every.as_secs())]);
        words.extend(["--backup-keep".to_owned(), backup.backup_keep.to_string()]);
        if let Some(file) = &backup.backup_key_file {
            // The unit is started somewhere else.
            let file = std::fs::canonicalize(file).with_context(|| format!("cannot read {}", file.display()))?;
            words.extend(["--backup-key-file".to_owned(), file.display().to_string()]);
        }
        if backup.backup_unsealed {
            words.push("--backup-unsealed".to_owned());
        }
    }
    words.extend(options.server.iter().cloned());
    let whole = ["naru", "server"].into_iter().chain(words.iter().map(String::as_str));
    if let Err(error) = Cli::try_parse_from(whole) {
        let text = error.to_string();
        bail!(
            "`naru server` does not start so: {}",
            text.lines().next().unwrap_or_default().trim_start_matches("error: ")
        );
    }
    Ok(words)
}

/// What a unit's command line ends with: the role and its words. Without words given now, those of the unit that is there
/// stay, so that installing a newer program forgets nothing.
pub(super) fn role(place: &Place, given: &[String], unit: &str) -> String {
    if crate::cluster::Membership::exists(place) {
        return "agent".to_owned();
    }
    let kept = given.is_empty().then(|| after_server(unit)).flatten();
    let words = kept.map_or_else(|| given.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "), str::to_owned);
    format!("server {words}").trim_end().to_owned()
}

/// The words behind `server` in a unit's command line.
fn after_server(unit: &str) -> Option<&str> {
    let line = unit.lines().find(|line| line.starts_with("ExecStart="))?;
    let (_, words) = line.split_once(" server ")?;
    Some(words.trim())
}

/// The same unit for the other role; the words of a server are not a worker's.
pub(super) fn with_role(unit: &str, worker: bool) -> String {
    let changed = unit.lines().map(|line| {
        let Some(command) = line.strip_prefix("ExecStart=") else { return line.to_owned() };
        let begin = [" server", " agent"]
            .iter()
            .filter_map(|role| {
                command
                    .find(&format!("{role} "))
                    .or_else(|| command.ends_with(role).then(|| command.len() - role.len()))
            })
            .min();
        match begin {
            Some(begin) if worker => format!("ExecStart={} agent", &command[..begin]),
            Some(begin) if command[begin..].starts_with(" agent") => format!("ExecStart={} server", &command[..begin]),
            _ => line.to_owned(),
        }
    });
    changed.collect::<Vec<_>>().join("\n") + "\n"
}

/// A word as systemd reads it.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=%$,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    fn options(words: &[&str]) -> InstallOptions {
        match Cli::parse_from([&["naru", "install"], words].concat()).command {
            Command::Install(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_servers_words_are_checked_and_kept() {
        let backup =
            ["--backup-to", "file:///mnt/nas", "--backup-every", "1h", "--backup-unsealed", "--", "--node-grace", "2s"];
        let words = of(&options(&backup)).expect("words of a server");
        assert_eq!(
            words.join(" "),
            "--backup-to file:///mnt/nas --backup-every 3600s --backup-keep 14 --backup-unsealed --node-grace 2s"
        );
        assert!(of(&options(&[])).expect("none").is_empty());
        let refused = |words: &[&str]| of(&options(words)).expect_err("refused").to_string();
        assert!(refused(&["--backup-to", "file:///mnt"]).contains("--backup-key-file"));
        assert!(refused(&["--", "--no-such"]).contains("--no-such"));
        assert!(refused(&["--", "--node-grace", "soon"]).contains("soon"));

        let place = Place { state_dir: "/nowhere/naru".into(), run_dir: "/run/naru".into() };
        let unit =
            |role: &str| format!("[Service]\nExecStart=/usr/local/bin/naru --state-dir /a {role}\nRestart=always\n");
        let first = role(&place, &words, "");
        assert!(first.ends_with("--node-grace 2s"), "{first}");
        assert_eq!(role(&place, &[], &unit(&first)), first, "a newer program forgets nothing");
        assert_eq!(role(&place, &["--rebalance".into(), "1".into()], &unit(&first)), "server --rebalance 1");
        assert_eq!(role(&place, &[], &unit("server")), "server");
        assert_eq!(with_role(&unit(&first), true), unit("agent"));
        assert_eq!(with_role(&unit("agent"), false), unit("server"));
        assert_eq!(with_role(&unit(&first), false), unit(&first));
    }

    #[test]
    fn words_are_quoted_for_systemd() {
        assert_eq!(
            [quoted("a=b"), quoted("a b"), quoted("50%"), quoted("\"$x\"")],
            ["a=b", "\"a b\"", "50%%", "\"\\\"$$x\\\"\""]
        );
    }
}
