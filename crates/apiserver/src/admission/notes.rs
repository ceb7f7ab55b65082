//! What admission has to say besides yes and no.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The most warnings that one request gets: clients print every one.
const MOST: usize = 64;

/// Warnings for the client and annotations for the audit log, gathered while a request is judged.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    warnings: Vec<String>,
    annotations: BTreeMap<String, String>,
}

// === impl Notes ===

impl Notes {
    /// Tells the client, once.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        let (warning, mut said) = (warning.into(), self.said.lock());
        if !said.warnings.contains(&warning) && said.warnings.len() < MOST {
            said.warnings.push(warning);
        }
    }

    /// Writes down what judged; the first word under a key counts.
    pub(crate) fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        self.said.lock().annotations.entry(key.into()).or_insert_with(|| value.into());
    }

    /// What was written down so far.
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        self.said.lock().annotations.clone()
    }

    /// The warnings so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.said.lock().warnings.clone()
    }
}
