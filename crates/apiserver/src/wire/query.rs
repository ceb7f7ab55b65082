//! The query of a request, decoded once.

use std::borrow::Cow;

use naru_api::status::Status;

use super::path::percent_decode;

/// Decoded key-value pairs in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

// === impl Query ===

impl<'a> Query<'a> {
    /// Decodes a query string.
    ///
    /// # Errors
    /// A bad-request status when the percent encoding is malformed.
    pub(crate) fn parse(query: Option<&'a str>) -> Result<Query<'a>, Status> {
        let Some(query) = query else { return Ok(Query::default()) };
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| {
                percent_decode(text, true).ok_or_else(|| {
                    Status::bad_request(format!("the query parameter {pair:?} is not percent-encoded UTF-8"))
                })
            };
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Query(pairs))
    }

    /// The first value of `key`, if it is not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| &**v)
    }

    /// Every value of `key`.
    pub(crate) fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| &**v)
    }

    /// Whether `key` is present and says yes.
    ///
    /// # Errors
    /// A bad-request status when it says something else than a boolean.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Status> {
        let Some((_, value)) = self.0.iter().find(|(k, _)| k == key) else { return Ok(false) };
        match &**value {
            "true" | "1" | "True" | "TRUE" | "t" | "T" | "" => Ok(true),
            "false" | "0" | "False" | "FALSE" | "f" | "F" => Ok(false),
            other => Err(Status::bad_request(format!("query parameter {key}: expected true or false, got {other:?}"))),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// A bad-request status when it is not one.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Status> {
        self.get(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    Status::bad_request(format!("query parameter {key}: expected a whole number, got {text:?}"))
                })
            })
            .transpose()
    }
}
