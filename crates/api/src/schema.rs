//! Schemas: what fields objects have, and how lists of them merge.
//!
//! The facts about built-in types stand in `facts/*.txt`, one file a package, in a form of our own (its grammar is told
//! in [`parse`]). They are parsed once, at the first question, into a compact table whose texts point into the program's
//! image. Decoding, defaulting, strategic merge and OpenAPI all walk this one table. Refused alternative: code generated
//! per type, which is slower to build and cannot describe a kind that is added at run time.

pub(crate) mod parse;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::kind::{Kind, SchemaRef, Str};

/// The place of a type in a [`Types`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u16);

impl TypeId {
    /// The type that every table holds first: an object with any fields.
    pub const OPEN: TypeId = TypeId(0);
}

/// A table of types that refer to one another.
#[derive(Debug)]
pub struct Types {
    types: Vec<Type>,
    by_name: HashMap<Str, TypeId>,
}

/// One type of object.
#[derive(Debug, Default)]
pub struct Type {
    /// The full name (`io.k8s.api.core.v1.Pod`).
    pub name: Str,
    /// The fields, sorted by name.
    pub fields: Vec<Field>,
    /// Fields without a schema are kept, not pruned.
    pub open: bool,
    /// Not an object: any JSON value.
    pub any: bool,
    /// A writer replaces the object as a whole.
    pub atomic: bool,
}

/// One field of a type.
#[derive(Debug)]
pub struct Field {
    /// The field's name.
    pub name: Str,
    /// What values it takes.
    pub shape: Shape,
    /// Whether it must be given.
    pub required: bool,
    /// An absent object is written as an empty one.
    pub fill: bool,
    /// The value of an absent field.
    pub default: Option<Box<Value>>,
    /// What a list or map is, to a writer.
    pub list: ListKind,
    /// How a strategic merge patch treats it.
    pub patch: PatchRule,
}

/// What values a field takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any JSON value.
    Any,
    /// Any JSON object.
    Open,
    /// Text.
    String,
    /// Bytes as base64 text.
    Bytes,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// A [quantity](crate::quantity).
    Quantity,
    /// A time stamp of whole seconds.
    Time,
    /// A time stamp with microseconds.
    MicroTime,
    /// A whole number or text (a port, a percentage).
    IntOrString,
    /// An object of a type.
    Object(TypeId),
    /// A list.
    List(Box<Shape>),
    /// An object with free keys.
    Map(Box<Shape>),
}

/// What a list or map is, to a writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Nothing is said.
    #[default]
    Plain,
    /// Replaced as a whole.
    Atomic,
    /// A set of plain values.
    Set,
    /// Objects identified by these fields.
    Map(Vec<Str>),
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchRule {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// The field that identifies a list's objects.
    pub key: Option<Str>,
    /// Fields that the patch does not name are removed.
    pub retain_keys: bool,
}

/// A type together with the table it stands in.
#[derive(Clone, Debug)]
pub struct Schema {
    types: Arc<Types>,
    root: TypeId,
}

/// What every object of a kind that was added at run time has.
const CUSTOM_OBJECT: &str = "io.naru.CustomObject";

const FILES: &[&str] = &[
    include_str!("../facts/admissionregistration.v1.txt"),
    include_str!("../facts/apiextensions.v1.txt"),
    include_str!("../facts/apiregistration.v1.txt"),
    include_str!("../facts/apps.v1.txt"),
    include_str!("../facts/authentication.v1.txt"),
    include_str!("../facts/authorization.v1.txt"),
    include_str!("../facts/autoscaling.v1.txt"),
    include_str!("../facts/autoscaling.v2.txt"),
    include_str!("../facts/batch.v1.txt"),
    include_str!("../facts/certificates.v1.txt"),
    include_str!("../facts/coordination.v1.txt"),
    include_str!("../facts/core.v1.txt"),
    include_str!("../facts/discovery.v1.txt"),
    include_str!("../facts/events.v1.txt"),
    include_str!("../facts/flowcontrol.v1.txt"),
    include_str!("../facts/meta.v1.txt"),
    include_str!("../facts/naru.v1.txt"),
    include_str!("../facts/networking.v1.txt"),
    include_str!("../facts/node.v1.txt"),
    include_str!("../facts/policy.v1.txt"),
    include_str!("../facts/rbac.v1.txt"),
    include_str!("../facts/resource.v1.txt"),
    include_str!("../facts/scheduling.v1.txt"),
    include_str!("../facts/storage.v1.txt"),
];

static BUILTIN: LazyLock<Arc<Types>> = LazyLock::new(|| {
    let mut builder = parse::Builder::default();
    for file in FILES {
        builder.add(file);
    }
    Arc::new(builder.finish())
});

// === impl Types ===

impl Types {
    /// The built-in types.
    pub fn builtin() -> Arc<Types> {
        BUILTIN.clone()
    }

    pub(crate) fn new(types: Vec<Type>) -> Types {
        let by_name = types.iter().zip(0u16..).map(|(t, i)| (t.name.clone(), TypeId(i))).collect();
        Types { types, by_name }
    }

    /// The type at a place.
    pub fn get(&self, id: TypeId) -> &Type {
        // Places are only made by the builder of the same table; a foreign one answers the open type.
        self.types.get(usize::from(id.0)).unwrap_or(&self.types[0])
    }

    /// The type of a full name.
    pub fn find(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// All types.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0u16..).map(TypeId).zip(&self.types)
    }
}

impl Type {
    /// The field of a name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.as_ref().cmp(name)).ok().map(|i| &self.fields[i])
    }
}

impl Schema {
    /// The schema of a built-in type.
    pub fn builtin(name: &str) -> Option<Schema> {
        let types = Types::builtin();
        let root = types.find(name)?;
        Some(Schema { types, root })
    }

    /// As [`Schema::builtin`]; a name that the table lacks answers an open object.
    fn named(name: &str) -> Schema {
        Schema::builtin(name).unwrap_or_else(|| Schema { types: Types::builtin(), root: TypeId::OPEN })
    }

    /// The table.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// The place of the type of whole objects.
    pub fn root_id(&self) -> TypeId {
        self.root
    }

    /// The type of whole objects.
    pub fn root(&self) -> &Type {
        self.types.get(self.root)
    }
}

impl Kind {
    /// The schema of the kind's objects, as far as the table of built-in types knows it: of a kind that was added at run
    /// time it knows the metadata, the rest stands in [`Kind::custom`]. A name that the table lacks answers an open object;
    /// a test holds that no built-in kind has one.
    pub fn schema(&self) -> Schema {
        match &self.schema {
            SchemaRef::Own(_) => Schema::named(CUSTOM_OBJECT),
            SchemaRef::Builtin(name) => Schema::named(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Registry;

    #[test]
    fn every_kind_has_a_schema_with_metadata() {
        for kind in Registry::builtin().iter() {
            let schema = kind.schema();
            assert_ne!(schema.root_id(), TypeId::OPEN, "{}", kind.group_kind());
            assert!(schema.root().field("metadata").is_some(), "{}", kind.group_kind());
        }
    }

    #[test]
    fn of_a_custom_kind_the_table_knows_the_metadata() {
        let kind = crate::kind::fixture::kind(&crate::kind::fixture::version());
        let schema = kind.schema();
        assert!(schema.root().open && kind.custom().is_some());
        let metadata = schema.root().field("metadata").map(|f| &f.shape);
        let known = schema.types().find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("a type");
        assert_eq!(metadata, Some(&Shape::Object(known)));
        assert!(Registry::builtin().iter().all(|kind| kind.custom().is_none() && !kind.schema().root().open));
    }

    #[test]
    fn facts_of_a_container() {
        let types = Types::builtin();
        let container = types.get(types.find("io.k8s.api.core.v1.Container").expect("a type"));
        let ports = container.field("ports").expect("a field");
        assert_eq!(ports.list, ListKind::Map(vec!["containerPort".into(), "protocol".into()]));
        assert_eq!(ports.patch.key.as_deref(), Some("containerPort"));
        assert!(container.field("name").is_some_and(|f| f.required));
        assert!(container.field("resources").is_some_and(|f| f.fill));
        let port = types.get(types.find("io.k8s.api.core.v1.ContainerPort").expect("a type"));
        assert_eq!(port.field("protocol").and_then(|f| f.default.as_deref()), Some(&Value::from("TCP")));
        assert!(container.field("nothing").is_none());
    }

    #[test]
    fn every_reference_leads_to_a_type() {
        fn walk(shape: &Shape, at: &str) {
            match shape {
                Shape::Object(id) => assert_ne!(*id, TypeId::OPEN, "{at} refers to a type that is not there"),
                Shape::List(inner) | Shape::Map(inner) => walk(inner, at),
                _ => {}
            }
        }
        let types = Types::builtin();
        for (_, t) in types.iter() {
            for field in &t.fields {
                walk(&field.shape, &format!("{}.{}", t.name, field.name));
            }
        }
    }
}
