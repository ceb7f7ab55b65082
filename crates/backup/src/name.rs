//! What backups are called, and which of them go.
//!
//! `naru-<cluster>-<time>.backup`, and with `-auto` before the point those that the server makes by itself: only these
//! are ever removed by it, and only those of its own cluster.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const FORM: &str = "%Y%m%dT%H%M%SZ";
const END: &str = ".backup";
const AUTO: &str = "-auto";

/// The name of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupName {
    /// The first letters of the cluster's identifier.
    pub cluster: String,
    /// When it was made, to the second.
    pub time: Timestamp,
    /// Whether a server made it by itself.
    pub automatic: bool,
}

// === impl BackupName ===

impl BackupName {
    /// The name of a backup of this cluster, made now.
    pub fn new(cluster: &str, time: Timestamp, automatic: bool) -> BackupName {
        BackupName { cluster: short(cluster), time, automatic }
    }

    /// Reads a name; `None` when it is none of a backup.
    pub fn parse(name: &str) -> Option<BackupName> {
        let rest = name.strip_prefix("naru-")?.strip_suffix(END)?;
        let (rest, automatic) = rest.strip_suffix(AUTO).map_or((rest, false), |rest| (rest, true));
        let (cluster, time) = rest.rsplit_once('-')?;
        let time = jiff::civil::DateTime::strptime(FORM, time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        (cluster == short(cluster) && !cluster.is_empty()).then(|| BackupName {
            cluster: cluster.to_owned(),
            time,
            automatic,
        })
    }

    /// Whether it is one of this cluster.
    pub fn is_of(&self, cluster: &str) -> bool {
        self.cluster == short(cluster)
    }
}

impl std::fmt::Display for BackupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let auto = if self.automatic { AUTO } else { "" };
        write!(f, "naru-{}-{}{auto}{END}", self.cluster, self.time.strftime(FORM))
    }
}

fn short(cluster: &str) -> String {
    cluster.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
}

/// The backups that a server removes, once a new one is complete: of those that it made of this cluster by itself, all
/// but the newest `keep`.
pub fn outdated<'a>(names: impl IntoIterator<Item = &'a str>, cluster: &str, keep: usize) -> Vec<&'a str> {
    let mut own: Vec<(Timestamp, &str)> = names
        .into_iter()
        .filter_map(|name| Some((BackupName::parse(name)?, name)))
        .filter(|(parsed, _)| parsed.automatic && parsed.is_of(cluster))
        .map(|(parsed, name)| (parsed.time, name))
        .collect();
    own.sort_unstable();
    own.truncate(own.len().saturating_sub(keep.max(1)));
    own.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(cluster: &str, second: i64, automatic: bool) -> String {
        BackupName::new(cluster, Timestamp::from_second(second).expect("a time"), automatic).to_string()
    }

    #[test]
    fn a_name_says_whose_and_of_when() {
        assert_eq!(name("1a2b3c4d-5e6f", 1_790_000_000, true), "naru-1a2b3c4d-20260921T141320Z-auto.backup");
        for wrong in [
            "",
            "naru-.backup",
            "naru-1a-now.backup",
            "naru-20260921T130640Z.backup",
            "x.backup",
            "../naru-1a-20260921T130640Z.backup",
        ] {
            assert_eq!(BackupName::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(cluster in "[0-9a-f]{8}-[0-9a-f]{4}", second in 0i64..4_000_000_000, automatic: bool) {
            let written = name(&cluster, second, automatic);
            let read = BackupName::parse(&written).expect("a name");
            prop_assert!(read.is_of(&cluster) && read.time.as_second() == second && read.automatic == automatic);
        }

        #[test]
        fn the_newest_stay_and_others_backups_are_never_touched(own in proptest::collection::btree_set(0i64..1_000, 0..20), keep in 0usize..8) {
            let mut names: Vec<String> = own.iter().map(|second| name("aaaaaaaa", *second, true)).collect();
            names.extend([name("bbbbbbbb", 1, true), name("aaaaaaaa", 1, false), "notes.txt".to_owned()]);
            names.reverse();
            let gone = outdated(names.iter().map(String::as_str), "aaaaaaaa-1111", keep);
            let oldest: Vec<String> = own.iter().take(own.len().saturating_sub(keep.max(1))).map(|s| name("aaaaaaaa", *s, true)).collect();
            prop_assert_eq!(gone, oldest);
        }
    }
}
