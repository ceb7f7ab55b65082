//! Objects of a version, from what a client wrote to what may be stored.

use serde_json::Value;

use crate::definition::Version;
use crate::fault::{Fault, Reason};
use crate::prune::Pruned;

static NULL: Value = Value::Null;

impl Version {
    /// Makes an object what the schema says: unknown fields go, absent ones become their defaults. The answer tells what
    /// went.
    pub fn shape(&self, object: &mut Value) -> Pruned {
        let pruned = self.schema.prune(object);
        self.schema.fill(object);
        pruned
    }

    /// What is wrong with an object. With `old` only what is wrong with what changed.
    pub fn faults(&self, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        let mut faults = self.schema.check(object, old);
        if let Some(scale) = &self.scale {
            scale.judge(object, true, &mut faults);
        }
        self.with_rules(faults, object, old)
    }

    /// What is wrong with an object of which only the status was written.
    pub fn status_faults(&self, object: &Value, old: &Value) -> Vec<Fault> {
        let part = |object| -> &Value { Value::get(object, "status").unwrap_or(&NULL) };
        let mut faults = match self.schema.properties.get("status") {
            Some(schema) if !part(object).is_null() => schema.check_at("status", part(object), Some(part(old))),
            _ => Vec::new(),
        };
        if let Some(scale) = &self.scale {
            scale.judge(object, false, &mut faults);
        }
        self.with_rules(faults, object, Some(old))
    }

    /// Expressions are only asked about objects that are what their schema says, or they would fail over what is not.
    fn with_rules(&self, mut faults: Vec<Fault>, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        if !self.schema.below.rules {
            return faults;
        }
        let blocks = |fault: &Fault| {
            matches!(
                fault.reason,
                Reason::NotSupported | Reason::Required | Reason::TooLong | Reason::TooMany | Reason::TypeInvalid
            )
        };
        if faults.iter().any(blocks) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors \
                       to complete validation";
            faults.push(Fault::invalid("", Value::Null, why));
        } else {
            faults.extend(self.schema.evaluate(object, old));
        }
        faults
    }
}
