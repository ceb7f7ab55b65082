//! What can be done to stored objects, one module a verb.
//!
//! Reading never parses where it does not have to; every write, from whatever door it came, passes `create`, `update`
//! or `delete`.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod selection;
pub(crate) mod update;
pub(crate) mod watch;

use bytes::Bytes;
use naru_api::{FieldValidation, Status};

use crate::wire::query::Query;

/// How often a write is planned again when others change the same object meanwhile.
pub(crate) const ATTEMPTS: usize = 32;

/// Options of a write.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteOptions {
    /// Everything is checked, nothing is written.
    pub(crate) dry_run: bool,
    /// What happens to unknown fields.
    pub(crate) validation: FieldValidation,
}

/// What a write answers.
#[derive(Debug)]
pub(crate) struct Written {
    /// The object as it is served now, in the stored kind's form.
    pub(crate) served: Bytes,
    /// Whether anything changed.
    pub(crate) changed: bool,
}

// === impl WriteOptions ===

impl WriteOptions {
    /// Reads `dryRun` and `fieldValidation`.
    ///
    /// # Errors
    /// 400 for values that mean nothing.
    pub(crate) fn of(query: &Query<'_>) -> Result<WriteOptions, Status> {
        let mut options = WriteOptions::default();
        for value in query.all("dryRun") {
            match value {
                "All" => options.dry_run = true,
                other => return Err(Status::bad_request(format!("dryRun: expected \"All\", got {other:?}"))),
            }
        }
        options.validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let text = format!("fieldValidation: expected Ignore, Warn or Strict, got {other:?}");
                return Err(Status::bad_request(text));
            }
        };
        Ok(options)
    }
}
