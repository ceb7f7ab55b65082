//! The parts of the control plane as `kubectl get componentstatuses` shows them: made when it is asked for, from what
//! this process knows.
//!
//! Everything runs in one process, so there is nobody to ask over the network: the store answers for itself, and the
//! server's owner says how its controllers are ([`Components`]). Refused: answering "ok" for whatever is not known.

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use naru_api::{LabelSelector, Status};
use serde_json::{Value, json};

use crate::call::Call;
use crate::represent::{self, Form};
use crate::state::Core;
use crate::wire::negotiate::Shape;
use crate::wire::path::Verb;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// The parts, by name.
const NAMES: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

/// Knows how the parts beside the server are.
pub trait Components: Send + Sync + 'static {
    /// What keeps a part (`scheduler`, `controller-manager`) from working; `None` when it works.
    fn fault(&self, component: &str) -> Option<String>;

    /// What they have to do, for the counters; nothing where nobody counts.
    fn queues(&self) -> Vec<Queue> {
        Vec::new()
    }
}

/// What one part has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The part's name.
    pub name: &'static str,
    /// How many keys wait.
    pub waiting: usize,
    /// How many are worked on.
    pub running: usize,
    /// How many were worked on since the start.
    pub done: u64,
    /// How many failed when they were last worked on.
    pub failing: usize,
}

/// Answers a request for one part or all.
///
/// # Errors
/// 404 for a part that there is not, 405 for anything but reading.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Payload>, Status> {
    let form = Form::of(call.accepted, call.query)?;
    let (kind, name) = (&call.route.kind, call.name());
    let body = match call.verb {
        Verb::Get => {
            let name = NAMES.into_iter().find(|n| *n == name).ok_or_else(|| Status::not_found(kind, name))?;
            form.one(call.route, &Bytes::from(look(call.core, name).await.to_string()), true)
        }
        Verb::List => list(call, form).await?,
        other => return Err(Status::method_not_allowed(kind, other.as_str())),
    };
    Ok(respond::document(StatusCode::OK, call.accepted.media, body))
}

async fn list(call: &Call<'_>, form: Form) -> Result<Bytes, Status> {
    let labels = LabelSelector::parse(call.query.get("labelSelector").unwrap_or_default())
        .map_err(|e| Status::bad_request(format!("labelSelector: {e}")))?;
    let mut items = Vec::new();
    // They have no labels: a selector finds all or none.
    for name in NAMES.into_iter().filter(|_| labels.matches(&serde_json::Map::new())) {
        items.push(look(call.core, name).await);
    }
    let kind = &call.route.kind;
    let list = match form.shape {
        Shape::Table => {
            let now = Timestamp::now();
            let rows = items.iter().map(|item| form.row(call.route, item, now)).collect();
            represent::table_head(call.route, true, json!({}), rows)
        }
        Shape::Partial => {
            let partial = |item: &Value| json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"] });
            json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
                "items": items.iter().map(partial).collect::<Vec<_>>() })
        }
        Shape::Whole | Shape::Bare | Shape::Discovery => {
            json!({ "kind": kind.list_kind(), "apiVersion": kind.api_version(), "metadata": {}, "items": items })
        }
    };
    Ok(list.to_string().into())
}

/// One part as it is now.
async fn look(core: &Core, name: &str) -> Value {
    let fault = match name {
        "etcd-0" => Ok(core.store.confirm().await.err().map(|error| error.to_string())),
        _ => core.components.get().map(|components| components.fault(name)).ok_or("nobody here runs it"),
    };
    let condition = match fault {
        Ok(None) => json!({ "type": "Healthy", "status": "True", "message": "ok" }),
        Ok(Some(fault)) => json!({ "type": "Healthy", "status": "False", "message": fault, "error": fault }),
        Err(unknown) => json!({ "type": "Healthy", "status": "Unknown", "message": unknown }),
    };
    json!({ "kind": "ComponentStatus", "apiVersion": "v1", "metadata": { "name": name }, "conditions": [condition] })
}
