//! What is asked for on a node.

use serde::{Deserialize, Serialize};

use crate::views::Meta;

/// Annotation of a node that is to take pods from fuller ones: a [`Request`] as JSON, or `true`.
pub const REBALANCE: &str = "naru.io/rebalance";

/// How many pods may be moved to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// At once, over all nodes.
    pub at_once: usize,
    /// At most, all together; no limit unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
    /// Moves that were begun.
    pub moved: usize,
}

impl Default for Request {
    fn default() -> Self {
        Request { at_once: 1, most: None, moved: 0 }
    }
}

impl Request {
    /// Reads a node's; what is not understood asks for the usual.
    pub(crate) fn of(meta: &Meta) -> Option<Request> {
        let text = meta.annotation(REBALANCE).filter(|text| *text != "false")?;
        let mut request: Request = serde_json::from_str(text).unwrap_or_default();
        request.at_once = request.at_once.max(1);
        Some(request)
    }

    /// Whether it has been served as far as it goes.
    pub(crate) fn is_spent(&self) -> bool {
        self.most.is_some_and(|most| self.moved >= most)
    }
}
