//! What a MutatingAdmissionPolicy changes, compiled.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use naru_cel::{Env, ObjectType, Type};
use serde_json::Value;

use super::read::Demands;
use crate::admission::expression::{Compiled, compile};

/// The type of configurations; those of their fields continue its name.
pub(super) const OBJECT: &str = "Object";
/// The type of one step of a patch.
const STEP: &str = "JSONPatch";

/// All that one changes.
#[derive(Debug)]
pub(super) struct Changes {
    /// In the order in which they are made.
    pub(super) list: Vec<Change>,
    /// It wants to be asked once more after others changed the object.
    pub(super) again: bool,
}

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) sort: Sort,
    pub(super) text: String,
    pub(super) program: Compiled,
}

/// What the expression of a change gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A part of the object, to be laid over it.
    Configuration,
    /// The steps of a patch.
    Patch,
}

static STEP_TYPE: LazyLock<Arc<ObjectType>> = LazyLock::new(|| {
    let texts = ["op", "path", "from"].map(|field| (field.to_owned(), Type::String));
    let fields: BTreeMap<String, Type> = texts.into_iter().chain([("value".to_owned(), Type::Dyn)]).collect();
    Arc::new(ObjectType { name: STEP.to_owned(), fields })
});

// === impl Sort ===

impl Sort {
    /// The field of a mutation that has the expression.
    pub(super) fn field(self) -> &'static str {
        match self {
            Sort::Configuration => "applyConfiguration",
            Sort::Patch => "jsonPatch",
        }
    }

    /// The type of what it gives.
    pub(super) fn of(self) -> Type {
        match self {
            Sort::Configuration => Type::Named(OBJECT.into()),
            Sort::Patch => Type::list(Type::Object(STEP_TYPE.clone())),
        }
    }

    /// That of a mutation.
    pub(super) fn read(mutation: &Value) -> Option<Sort> {
        match mutation["patchType"].as_str() {
            Some("ApplyConfiguration") => Some(Sort::Configuration),
            Some("JSONPatch") => Some(Sort::Patch),
            _ => None,
        }
    }
}

// === impl Changes ===

impl Demands for Changes {
    fn scope(env: Env) -> Env {
        env.with_family(OBJECT).with_object(STEP_TYPE.clone())
    }

    fn read(spec: &Value, env: &Env) -> Changes {
        let mutations = spec["mutations"].as_array().into_iter().flatten();
        let one = |mutation: &Value| {
            let sort = Sort::read(mutation)?;
            let text = mutation[sort.field()]["expression"].as_str().unwrap_or_default().to_owned();
            Some(Change { sort, program: compile(&text, env, &[sort.of()]), text })
        };
        Changes { list: mutations.filter_map(one).collect(), again: spec["reinvocationPolicy"] == "IfNeeded" }
    }
}
