//! Defaults of whose turn it is.

use super::edit::{Object, child, make};

/// Sets a number that is absent or zero.
fn count(object: &mut Object, key: &str, value: i64) {
    if object.get(key).is_none_or(|v| v.is_null() || *v == 0) {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets a number that is absent.
fn number(object: &mut Object, key: &str, value: i64) {
    if object.get(key).is_none_or(serde_json::Value::is_null) {
        object.insert(key.to_owned(), value.into());
    }
}

/// A FlowSchema.
pub(super) fn schema(object: &mut Object) {
    make(object, "spec", |spec| count(spec, "matchingPrecedence", 1000));
}

/// A PriorityLevelConfiguration.
pub(super) fn priority_level(object: &mut Object) {
    make(object, "spec", |spec| {
        child(spec, "exempt", |exempt| {
            number(exempt, "nominalConcurrencyShares", 0);
            number(exempt, "lendablePercent", 0);
        });
        child(spec, "limited", |limited| {
            number(limited, "nominalConcurrencyShares", 30);
            number(limited, "lendablePercent", 0);
            child(limited, "limitResponse", |response| {
                child(response, "queuing", |queuing| {
                    count(queuing, "handSize", 8);
                    count(queuing, "queues", 64);
                    count(queuing, "queueLengthLimit", 50);
                });
            });
        });
    });
}
