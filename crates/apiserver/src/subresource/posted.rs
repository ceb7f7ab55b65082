//! What is posted below an object: not the object itself, but what is to be done with it.

use naru_api::{Status, meta};
use serde_json::{Value, json};

use crate::admission::chain::{self, Operation, Options, Review};
use crate::call::Call;
use crate::routes::Route;
use crate::verbs::WriteOptions;

/// What is posted, by the names of its kind.
pub(super) struct Posted<'a> {
    /// The objects below which it is posted, or the collection of its own.
    pub(super) route: &'a Route,
    /// Empty for its own collection.
    pub(super) subresource: &'a str,
    /// The object that it is about.
    pub(super) name: &'a str,
    pub(super) api_version: &'a str,
    pub(super) kind: &'a str,
}

// === impl Posted ===

impl Posted<'_> {
    /// Says in what was sent what it is, where it does not say so itself.
    ///
    /// # Errors
    /// 400 for something else, or about another object.
    pub(super) fn complete(&self, namespace: &str, sent: Value) -> Result<Value, Status> {
        let mut posted = if sent.is_null() { json!({}) } else { sent };
        if !posted.is_object() {
            return Err(Status::bad_request(format!("expected a {} object", self.kind)));
        }
        for (field, own) in [("apiVersion", self.api_version), ("kind", self.kind)] {
            match posted[field].as_str().unwrap_or_default() {
                "" => posted[field] = own.into(),
                given if given == own => {}
                given => {
                    let text = format!("the {field} in the data ({given}) does not match the expected {field} ({own})");
                    return Err(Status::bad_request(text));
                }
            }
        }
        if !posted["metadata"].is_object() {
            posted["metadata"] = json!({});
        }
        match meta::name(&posted) {
            "" => meta::set(&mut posted, "name", self.name),
            given if given == self.name => {}
            _ => return Err(Status::bad_request(format!("name in URL does not match name in {} object", self.kind))),
        }
        match meta::namespace(&posted) {
            "" => meta::set(&mut posted, "namespace", namespace),
            given if given == namespace => {}
            _ => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
        Ok(posted)
    }

    /// Has admission change it and judge it. What follows from it is the server's own doing: nobody is asked again.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) async fn admitted(
        &self,
        call: &Call<'_>,
        sent: Value,
        options: WriteOptions<'_>,
    ) -> Result<Value, Status> {
        let mut posted = self.complete(call.namespace(), sent)?;
        let snapshot = call.core.store.snapshot();
        let review = Review {
            core: call.core,
            snapshot: &snapshot,
            user: call.user,
            route: self.route,
            operation: Operation::Create,
            subresource: self.subresource,
            namespace: call.namespace(),
            name: self.name,
            old: None,
            options: Options::Write(options),
            notes: options.notes,
        };
        chain::mutate(&review, &mut posted).await?;
        chain::validate(&review, Some(&posted)).await?;
        Ok(posted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_api::Registry;

    #[test]
    fn it_says_what_it_is_and_about_what() {
        let routes = crate::routes::Routes::of(&Registry::builtin());
        let route = routes.find("", "v1", "pods").expect("served");
        let posted = Posted { route, subresource: "binding", name: "web", api_version: "v1", kind: "Binding" };
        let own = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web", "namespace": "shop"}});
        assert_eq!(posted.complete("shop", Value::Null).expect("nothing is enough"), own);
        assert_eq!(posted.complete("shop", own.clone()).expect("it says so itself"), own);
        for (wrong, says) in [
            (json!([]), "expected a Binding object"),
            (json!({"kind": "Pod"}), "the kind in the data (Pod) does not match the expected kind (Binding)"),
            (json!({"apiVersion": "v2"}), "the apiVersion in the data (v2)"),
            (json!({"metadata": {"name": "db"}}), "name in URL does not match name in Binding object"),
            (json!({"metadata": {"namespace": "x"}}), "the namespace of the provided object"),
        ] {
            let why = posted.complete("shop", wrong).expect_err("something else").message;
            assert!(why.contains(says), "{why}");
        }
    }
}
