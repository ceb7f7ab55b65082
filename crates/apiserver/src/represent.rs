//! The forms in which objects are shown: whole, as rows of a table, or only their metadata.

use bytes::Bytes;
use jiff::Timestamp;
use naru_api::{Status, table};
use serde_json::{Value, json};

use crate::kept;
use crate::object;
use crate::routes::Route;
use crate::versions;
use crate::wire::negotiate::Shape;
use crate::wire::query::Query;

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
    pub(crate) shape: Shape,
    pub(crate) include: Include,
}

// === impl Form ===

impl Form {
    /// The form that a request asks for.
    ///
    /// # Errors
    /// 400 for an unknown `includeObject`.
    pub(crate) fn of(shape: Shape, query: &Query<'_>) -> Result<Form, Status> {
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
        Ok(Form { shape, include })
    }

    /// One object. `columns`: whether a table says what its columns are (in a watch, only the first does).
    pub(crate) fn one(self, route: &Route, served: &Bytes, columns: bool) -> Bytes {
        match self.shape {
            Shape::Whole | Shape::Discovery => versions::served(route, &kept::shown(served)),
            Shape::Bare => versions::served(route, &kept::without(served)),
            Shape::Partial => partial(&kept::shown(served)).into(),
            Shape::Table => {
                let object = versions::to_served(route, object::parse(&kept::shown(served)));
                let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                let row = self.row(route, &object, Timestamp::now());
                table_head(route, columns, metadata, vec![row]).to_string().into()
            }
        }
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
