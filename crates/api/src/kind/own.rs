//! The group `naru.io`.

use super::Subresource::Status;
use super::{Kind, NameRule, SchemaRef};

fn v1(kind: &'static str, plural: &'static str) -> Kind {
    Kind::new("naru.io", "v1", kind, plural, SchemaRef::Builtin(format!("io.naru.v1.{kind}").into()))
}

/// The entries of `naru.io/v1`.
pub(super) fn kinds() -> Vec<Kind> {
    vec![
        v1("Network", "networks").cluster().sub(&[Status]).named(NameRule::Label),
        v1("Project", "projects").sub(&[Status]).named(NameRule::Label),
    ]
}
