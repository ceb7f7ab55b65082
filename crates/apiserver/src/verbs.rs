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
pub(crate) mod warnings;
pub(crate) mod watch;

use bytes::Bytes;
use http::header::USER_AGENT;
use jiff::Timestamp;
use naru_api::apply::Writer;
use naru_api::{FieldError, FieldValidation, Status};
use serde_json::json;

use crate::admission::notes::Notes;
use crate::call::Call;
use crate::user::User;
use crate::wire::path::Verb;

/// How often a write is planned again when others change the same object meanwhile.
pub(crate) const ATTEMPTS: usize = 32;
/// The longest name of a writer, in bytes: Kubernetes' limit.
const MANAGER_LENGTH: usize = 128;
/// The name of a writer that has none.
const NOBODY: &str = "unknown";
/// What this program calls itself.
const OWN: &str = "naru";

/// Options of a write.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteOptions<'a> {
    /// Everything is checked, nothing is written.
    pub(crate) dry_run: bool,
    /// What happens to unknown fields.
    pub(crate) validation: FieldValidation,
    /// Who owns what is changed; empty for the server itself.
    pub(crate) manager: &'a str,
    /// The subresource written through; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// The object names its owners itself: server-side apply settled them.
    pub(crate) applied: bool,
    /// Whoever changes the object looks at its owners too.
    pub(crate) sees_owners: bool,
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
    /// 422 for values that mean nothing and a manager that cannot be one.
    pub(crate) fn of(call: &'a Call<'_>) -> Result<WriteOptions<'a>, Status> {
        let query = call.query;
        let mut options = WriteOptions {
            manager: query.get("fieldManager").unwrap_or_else(|| program(call)),
            subresource: call.path.subresource.as_deref().unwrap_or_default(),
            notes: Some(&call.notes),
            ..WriteOptions::default()
        };
        let mut faults = Vec::new();
        if options.manager.len() > MANAGER_LENGTH {
            faults.push(FieldError::too_long("fieldManager", MANAGER_LENGTH));
        }
        if let Some((at, c)) = options.manager.char_indices().find(|(_, c)| c.is_control()) {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
            faults.push(FieldError::invalid("fieldManager", &json!(options.manager), why));
        }
        let tries: Vec<&str> = query.all("dryRun").collect();
        options.dry_run = !tries.is_empty();
        if tries.iter().any(|word| *word != "All") {
            faults.push(FieldError::not_supported("dryRun", &json!(tries), &["All"]));
        }
        options.validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let known = ["", "Ignore", "Strict", "Warn"];
                faults.push(FieldError::not_supported("fieldValidation", &json!(other), &known));
                FieldValidation::Warn
            }
        };
        if faults.is_empty() { Ok(options) } else { Err(Status::invalid_options(options_kind(call.verb), faults)) }
    }

    /// Who writes, now.
    pub(crate) fn writer(&self) -> Writer<'a> {
        let manager = if self.manager.is_empty() { owners::SERVER } else { self.manager };
        Writer { manager, subresource: self.subresource, now: Timestamp::now() }
    }
}

/// What the options of a request are called.
fn options_kind(verb: Verb) -> &'static str {
    match verb {
        Verb::Update => "UpdateOptions",
        Verb::Patch => "PatchOptions",
        Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
        _ => "CreateOptions",
    }
}

/// The writer that a program is when it does not say. Parts of this program have the names of those parts of Kubernetes
/// that write the same: people and tools look for them.
fn program<'a>(call: &'a Call<'_>) -> &'a str {
    let agent = call.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    match program {
        "" => NOBODY,
        OWN => part(call.user),
        // Header text is ASCII.
        program => &program[..program.len().min(MANAGER_LENGTH)],
    }
}

fn part(user: &User) -> &'static str {
    match user.name.as_str() {
        "system:controllers" => owners::CONTROLLERS,
        name if name.starts_with("system:node:") => "kubelet",
        _ => OWN,
    }
}
