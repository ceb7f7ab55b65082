//! The types of objects as expressions know them, by which an expression about a kind can be checked before there is any
//! object.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_cel::{ObjectType, Type, escape};

use crate::kind::Kind;
use crate::schema::{Schema, Shape, TypeId};

/// The type of a kind's objects. Of values of which the schema says too little, and of those inside of their like, nothing
/// is known.
pub fn declared(kind: &Kind) -> Type {
    let schema = kind.schema();
    let mut walk = Walk { schema: &schema, known: BTreeMap::new(), above: Vec::new() };
    let Some(version) = kind.custom() else { return walk.object(schema.root_id()) };
    let metadata = schema.root().field("metadata").map_or(Type::Dyn, |field| walk.shape(&field.shape));
    match version.schema.declared(&kind.kind) {
        Some(Type::Object(of)) => {
            let mut fields = of.fields.clone();
            fields.insert("metadata".to_owned(), metadata);
            Type::Object(Arc::new(ObjectType { name: of.name.clone(), fields }))
        }
        _ => Type::Dyn,
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    known: BTreeMap<TypeId, Type>,
    above: Vec<TypeId>,
}

impl Walk<'_> {
    fn object(&mut self, id: TypeId) -> Type {
        let of = self.schema.types().get(id);
        if of.any || of.open || self.above.contains(&id) {
            return Type::Dyn;
        }
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        self.above.push(id);
        let mut fields = BTreeMap::new();
        for field in &of.fields {
            if let Some(name) = escape(&field.name) {
                fields.insert(name, self.shape(&field.shape));
            }
        }
        self.above.pop();
        let name = of.name.rsplit('.').next().unwrap_or_default().to_owned();
        let made = Type::Object(Arc::new(ObjectType { name, fields }));
        self.known.insert(id, made.clone());
        made
    }

    fn shape(&mut self, shape: &Shape) -> Type {
        match shape {
            Shape::Any | Shape::Open | Shape::Quantity | Shape::IntOrString => Type::Dyn,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Int32 | Shape::Int64 => Type::Int,
            Shape::Number => Type::Double,
            Shape::Bool => Type::Bool,
            Shape::Time | Shape::MicroTime => Type::Timestamp,
            Shape::Object(id) => self.object(*id),
            Shape::List(of) => Type::list(self.shape(of)),
            Shape::Map(of) => Type::map(Type::String, self.shape(of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use naru_cel::Env;

    use super::*;
    use crate::kind::{Registry, fixture};

    fn env(kind: &Kind) -> Env {
        Env::new().with("object", declared(kind))
    }

    #[track_caller]
    fn says(env: &Env, text: &str, why: &str) {
        let error = env.compile(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }

    #[test]
    fn fields_of_built_in_kinds_are_known() {
        let deployments = env(Registry::builtin().find("deployments").expect("a kind"));
        for text in [
            "object.spec.replicas > 1 && object.kind == 'Deployment' && object.metadata.labels['a'] == 'b'",
            "object.spec.template.spec.containers.all(c, c.image.startsWith('a') && quantity(c.resources.limits['cpu']) == quantity('1'))",
            "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '25%'",
            "object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
            "object.spec.template.metadata.?annotations['a'].orValue('') == ''",
        ] {
            let program = deployments.compile(text);
            assert!(program.is_ok(), "{text}: {}", program.unwrap_err());
        }
        says(&deployments, "object.spec.replica > 1", "undefined field 'replica'");
        says(&deployments, "object.spec.replicas > '1'", "no matching overload");
        says(&deployments, "object.spec.template.spec.containers[0].port == 1", "undefined field 'port'");
    }

    #[test]
    fn kinds_whose_types_hold_themselves_come_to_an_end() {
        let definitions = env(Registry::builtin().find("customresourcedefinitions").expect("a kind"));
        let text = "object.spec.versions.all(v, has(v.schema.openAPIV3Schema.properties.a.properties.b))";
        assert!(definitions.compile(text).is_ok());
    }

    #[test]
    fn kinds_that_users_define_have_the_fields_of_their_schema() {
        let custom = env(&fixture::kind(&fixture::version()));
        let text =
            "object.spec.replicas > 1 && object.spec.ports.all(p, p.protocol == 'TCP') && object.metadata.uid == ''";
        assert!(custom.compile(text).is_ok(), "{}", custom.compile(text).unwrap_err());
        says(&custom, "object.spec.replica > 1", "undefined field 'replica'");
    }
}
