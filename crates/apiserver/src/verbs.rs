//! What can be done to stored objects, one module a verb.
//!
//! Reading never parses where it does not have to; every write, from whatever door it came, passes `create`, `update`
//! or `delete`.

pub(crate) mod apply;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod owners;
pub(crate) mod patch;
pub(crate) mod selection;
pub(crate) mod update;
pub(crate) mod watch;

use bytes::Bytes;
use http::header::USER_AGENT;
use naru_api::{FieldValidation, Reason, Status};

use crate::admission::notes::Notes;
use crate::call::Call;

/// How often a write is planned again when others change the same object meanwhile.
pub(crate) const ATTEMPTS: usize = 32;
/// The longest name of a writer, in characters: Kubernetes' limit.
const MANAGER_LENGTH: usize = 128;

/// Options of a write.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteOptions<'a> {
    /// Everything is checked, nothing is written.
    pub(crate) dry_run: bool,
    /// What happens to unknown fields.
    pub(crate) validation: FieldValidation,
    /// Who owns what is changed; empty for the user.
    pub(crate) manager: &'a str,
    /// The subresource written through; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// The object names its owners itself: server-side apply settled them.
    pub(crate) applied: bool,
    /// Where admission writes down what it has to say; none for what the server does by itself.
    pub(crate) notes: Option<&'a Notes>,
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

impl<'a> WriteOptions<'a> {
    /// Reads `dryRun`, `fieldValidation` and `fieldManager`. A writer without name goes by its program's.
    ///
    /// # Errors
    /// 400 for values that mean nothing, 422 for a manager that cannot be one.
    pub(crate) fn of(call: &'a Call<'_>) -> Result<WriteOptions<'a>, Status> {
        let query = call.query;
        let program = call.headers.get(USER_AGENT).and_then(|a| a.to_str().ok()).unwrap_or_default();
        let program = program.split('/').next().unwrap_or_default();
        let mut options = WriteOptions {
            manager: query.get("fieldManager").unwrap_or(program),
            subresource: call.path.subresource.as_deref().unwrap_or_default(),
            notes: Some(&call.notes),
            ..WriteOptions::default()
        };
        if options.manager.chars().count() > MANAGER_LENGTH || options.manager.chars().any(char::is_control) {
            let text = format!("fieldManager: must be at most {MANAGER_LENGTH} printable characters");
            return Err(Status::new(Reason::Invalid, text));
        }
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
