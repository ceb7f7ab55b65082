//! What a program file says of itself, and which versions work together.
//!
//! The facts stand in the file as one readable record, so that a program can be judged without being executed: it may be
//! for another machine, or be none of ours. Everything that tells a version reads the same record; the version that the
//! build knows is written nowhere else. The alternative refused is `FILE version`: executing what has just arrived, as
//! root, to find out whether it may be executed.

use std::hint::black_box;
use std::sync::OnceLock;

/// What stands before the facts.
const HEAD: &str = "\u{7f}naru program record 1\n";
/// The record. `store` is the newest format of the store's log that the program writes.
const TEXT: &str = concat!("\u{7f}naru program record 1\n", "version=", env!("CARGO_PKG_VERSION"), "\nstore=1\n");
/// The space that the record takes, the rest of it zeroes.
const SPACE: usize = 128;

/// The record where it is found: aligned, once in a file.
#[repr(align(64))]
struct Record([u8; SPACE]);

#[used]
static RECORD: Record = Record(padded(TEXT.as_bytes()));

const fn padded(text: &[u8]) -> [u8; SPACE] {
    let mut all = [0; SPACE];
    let mut at = 0;
    while at < text.len() {
        all[at] = text[at];
        at += 1;
    }
    all
}

/// What a program file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its version.
    pub version: Version,
    /// The newest format of the store that it writes.
    pub store: u32,
}

/// A version: three numbers, and what may follow them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub patch: u64,
    /// What follows, with its hyphen or plus sign.
    pub rest: String,
}

/// How far two versions are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// Not at all, but for the third number.
    Same,
    /// The first is one minor version older.
    Behind,
    /// The first is one minor version newer.
    Ahead,
    /// Further: they do not work together.
    TooFar,
}

// === impl ProgramFacts ===

impl ProgramFacts {
    /// Those of the program that runs.
    pub fn own() -> &'static ProgramFacts {
        static OWN: OnceLock<ProgramFacts> = OnceLock::new();
        OWN.get_or_init(|| {
            // Opaque to the compiler, which would otherwise write the version into the code as well.
            let record = black_box(&RECORD);
            let unknown =
                ProgramFacts { version: Version { major: 0, minor: 0, patch: 0, rest: String::new() }, store: 0 };
            Self::read(&record.0[HEAD.len()..]).unwrap_or(unknown)
        })
    }

    /// Finds the record in the bytes of a file.
    pub fn find(part: &[u8]) -> Option<ProgramFacts> {
        memchr::memmem::find_iter(part, HEAD.as_bytes()).find_map(|at| Self::read(&part[at + HEAD.len()..]))
    }

    fn read(record: &[u8]) -> Option<ProgramFacts> {
        let text = &record[..record.len().min(SPACE - HEAD.len())];
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        // What follows the record may be anything: only whole lines count.
        let end = text.iter().rposition(|byte| *byte == b'\n')?;
        let text = std::str::from_utf8(&text[..end]).ok()?;
        let mut lines = text.lines();
        let version = Version::parse(lines.next()?.strip_prefix("version=")?)?;
        let store = lines.next()?.strip_prefix("store=")?.parse().ok()?;
        Some(ProgramFacts { version, store })
    }
}

/// The version of the program that runs.
pub fn version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| ProgramFacts::own().version.to_string())
}

// === impl Version ===

impl Version {
    /// Reads `1.2.3`, with or without something behind it (`1.2.3-rc.1`).
    pub fn parse(text: &str) -> Option<Version> {
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let (major, minor, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let plain = rest.len() <= 32 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte));
        (numbers.next().is_none() && plain).then(|| Version { major, minor, patch, rest: rest.to_owned() })
    }

    /// How far this one is from another: the third number does not count, another first number is always too far.
    pub fn skew(&self, other: &Version) -> Skew {
        match self.minor.abs_diff(other.minor) {
            _ if self.major != other.major => Skew::TooFar,
            0 => Skew::Same,
            1 if self.minor < other.minor => Skew::Behind,
            1 => Skew::Ahead,
            _ => Skew::TooFar,
        }
    }

    /// Whether programs of the two versions work together in one cluster.
    pub fn works_with(&self, other: &Version) -> bool {
        self.skew(other) != Skew::TooFar
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}{}", self.major, self.minor, self.patch, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_of(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text} is a version"))
    }

    #[test]
    fn a_record_is_found_in_a_file_and_read() {
        assert_eq!(version(), env!("CARGO_PKG_VERSION"));
        let mut file = vec![0x7f; 1000];
        assert_eq!(ProgramFacts::find(&file), None);
        // The beginning of a record alone is none.
        file.extend_from_slice(HEAD.as_bytes());
        file.extend_from_slice(b"version=1.2");
        assert_eq!(ProgramFacts::find(&file), None);
        file.extend_from_slice(&padded(TEXT.replace(env!("CARGO_PKG_VERSION"), "9.8.7").as_bytes()));
        let found = ProgramFacts::find(&file).expect("a record");
        assert_eq!((found.version.to_string().as_str(), found.store), ("9.8.7", 1));
        // A later program may say more.
        let later = TEXT.replace("store=1\n", "store=2\nmore=things\n");
        assert_eq!(ProgramFacts::find(&padded(later.as_bytes())).map(|facts| facts.store), Some(2));
    }

    #[test]
    fn one_minor_version_apart_works_and_two_do_not() {
        let skew = |one: &str, other: &str| version_of(one).skew(&version_of(other));
        assert_eq!(skew("0.1.0", "0.1.9"), Skew::Same);
        assert_eq!(skew("0.1.0", "0.2.0-rc.1"), Skew::Behind);
        assert_eq!(skew("1.10.0", "1.9.3"), Skew::Ahead);
        assert_eq!(skew("0.1.0", "0.3.0"), Skew::TooFar);
        assert_eq!(skew("1.0.0", "0.9.0"), Skew::TooFar);
        assert!(version_of("0.1.0") < version_of("0.2.0") && version_of("0.9.0") < version_of("0.10.0"));
        for none in ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.3-\u{e9}"] {
            assert_eq!(Version::parse(none), None, "{none}");
        }
    }
}
