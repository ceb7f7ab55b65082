//! What is wrong with a Compose project, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in a file. Lines and columns count from 1; line 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The file as the user named it, or as it was found.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl Position {
    /// The file as a whole.
    pub fn file(file: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// A fault of a Compose project. Its text says where (file, line, key), what was expected, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A file cannot be read.
    #[error("cannot read {path}{}", named_by(.by))]
    Read {
        /// The file.
        path: PathBuf,
        /// Where it is named, unless on the command line.
        by: Option<Position>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No Compose file was given and none is here.
    #[error(
        "no Compose file in {dir} or above: expected compose.yaml, compose.yml, docker-compose.yaml or \
         docker-compose.yml; name one with -f"
    )]
    NoFile {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The text is not YAML.
    #[error("{at}: not valid YAML: {problem}")]
    Yaml {
        /// Where.
        at: Position,
        /// What the parser found.
        problem: String,
    },
    /// Something at a place is not as the specification wants it.
    #[error("{at}: {key}: {problem}")]
    Invalid {
        /// Where.
        at: Position,
        /// The key's path, as in `services.web.ports[0]`.
        key: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// Several faults at once, so that one run shows all of them.
    #[error("{}", lines(.0))]
    Several(Vec<ComposeError>),
    /// The project as a whole is wrong (a missing service on the command line, a cycle).
    #[error("{0}")]
    Project(String),
}

impl ComposeError {
    /// One fault, or several as one.
    pub fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// A fault at a place.
    pub fn invalid(at: &Position, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { at: at.clone(), key: key.into(), problem: problem.into() }
    }
}

fn lines(errors: &[ComposeError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn named_by(by: &Option<Position>) -> String {
    by.as_ref().map(|at| format!(" (named at {at})")).unwrap_or_default()
}

/// Something the user should know, though nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where, when it has a place.
    pub at: Option<Position>,
    /// The key's path, or empty.
    pub key: String,
    /// What, and what follows from it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}
