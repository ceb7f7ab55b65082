//! The parts of HTTP that know no kinds: paths, queries, representations, bodies and answers.

pub(crate) mod body;
pub(crate) mod deadline;
pub(crate) mod negotiate;
pub(crate) mod path;
pub(crate) mod payload;
pub(crate) mod protobuf;
pub(crate) mod query;
pub(crate) mod respond;
