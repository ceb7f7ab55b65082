//! The forms in which objects are shown: whole, as rows of a table, or only their metadata.

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use naru_api::{Kind, Status, table};
use naru_protobuf::Unwritable;
use serde_json::{Value, json};

use crate::kept;
use crate::object;
use crate::routes::Route;
use crate::versions;
use crate::wire::negotiate::{Accepted, Media, Shape};
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// The version of what objects of all kinds are shown as.
const META: &str = "meta.k8s.io/v1";

/// How much of each object comes along with its row (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// A way of showing objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) media: Media,
    pub(crate) shape: Shape,
    pub(crate) include: Include,
}

// === impl Form ===

impl Form {
    /// The form that a request asks for.
    ///
    /// # Errors
    /// 400 for an unknown `includeObject`.
    pub(crate) fn of(accepted: Accepted, query: &Query<'_>) -> Result<Form, Status> {
        let Accepted { media, shape } = accepted;
        let include = match query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) => {
                let text = format!("includeObject: expected None, Metadata or Object, got {other:?}");
                return Err(Status::bad_request(text));
            }
        };
        let shape = if shape == Shape::Discovery { Shape::Whole } else { shape };
        Ok(Form { media, shape, include })
    }

    /// What objects of a kind are called in this form: the version, and the kind.
    pub(crate) fn name(self, kind: &Kind) -> (String, String) {
        match self.shape {
            Shape::Whole | Shape::Bare | Shape::Discovery => (kind.api_version(), kind.kind.to_string()),
            Shape::Partial => (META.to_owned(), "PartialObjectMetadata".to_owned()),
            Shape::Table => (META.to_owned(), "Table".to_owned()),
        }
    }

    /// What a list of them is called.
    pub(crate) fn list_name(self, kind: &Kind) -> (String, String) {
        match self.shape {
            Shape::Whole | Shape::Bare | Shape::Discovery => (kind.api_version(), kind.list_kind()),
            Shape::Partial => (META.to_owned(), "PartialObjectMetadataList".to_owned()),
            Shape::Table => self.name(kind),
        }
    }

    /// One object. `columns`: whether a table says what its columns are (in a watch, only the first does).
    pub(crate) fn one(self, route: &Route, served: &Bytes, columns: bool) -> Bytes {
        match self.shape {
            Shape::Whole | Shape::Discovery => versions::served(route, &kept::shown(served)),
            Shape::Bare => versions::served(route, &kept::without(served)),
            Shape::Partial => partial(&versions::served(route, &kept::shown(served))).into(),
            Shape::Table => {
                let object = self.value(route, served);
                let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                let row = self.row(route, &object, Timestamp::now());
                table_head(route, columns, metadata, vec![row]).to_string().into()
            }
        }
    }

    /// The answer that shows one object.
    pub(crate) fn answer(self, code: StatusCode, route: &Route, served: &Bytes) -> Response<Payload> {
        match (self.media, self.shape) {
            (Media::Json, _) | (_, Shape::Table) => respond::document(code, self.media, self.one(route, served, true)),
            (media, _) => respond::value(code, media, &self.value(route, served)),
        }
    }

    /// One object as a value; of tables, what their rows are about.
    pub(crate) fn value(self, route: &Route, served: &Bytes) -> Value {
        match self.shape {
            Shape::Whole | Shape::Discovery | Shape::Table => {
                versions::to_served(route, object::parse(&kept::shown(served)))
            }
            Shape::Bare => versions::to_served(route, object::parse(&kept::without(served))),
            Shape::Partial => object::parse(partial(&versions::served(route, &kept::shown(served))).as_bytes()),
        }
    }

    /// One object in protobuf.
    ///
    /// # Errors
    /// For an object that is not as the schema of its kind says.
    pub(crate) fn protobuf(self, route: &Route, served: &Bytes) -> Result<Bytes, Unwritable> {
        naru_protobuf::encode(&self.value(route, served))
    }

    /// Its message, for lists in protobuf.
    ///
    /// # Errors
    /// As [`Form::protobuf`].
    pub(crate) fn message(self, route: &Route, served: &Bytes) -> Result<Vec<u8>, Unwritable> {
        naru_protobuf::message(&self.value(route, served))
    }

    /// A row of a table. The object is as clients see it.
    pub(crate) fn row(self, route: &Route, object: &Value, now: Timestamp) -> Value {
        let cells = table::row(&route.kind, object, now);
        match self.include {
            Include::None => json!({ "cells": cells }),
            Include::Object => json!({ "cells": cells, "object": object }),
            Include::Metadata => json!({ "cells": cells, "object": {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] } }),
        }
    }
}

/// Only the metadata of an object.
pub(crate) fn partial(served: &[u8]) -> String {
    let metadata = object::metadata(served).unwrap_or("{}");
    format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata}}}")
}

/// A table of these rows.
pub(crate) fn table_head(route: &Route, columns: bool, metadata: Value, rows: Vec<Value>) -> Value {
    let definitions: Vec<Value> =
        if columns { table::columns(&route.kind).iter().map(table::Column::to_json).collect() } else { Vec::new() };
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows })
}
