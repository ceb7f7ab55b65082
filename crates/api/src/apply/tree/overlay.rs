//! Laying a configuration over an object, as admission policies do: what it names is set, all else stays as it is, and
//! nobody comes to own anything.
//!
//! Of a value that writers share as a whole, a configuration would take away whatever it leaves out, which hardly anybody
//! means: such values are refused, other than by server-side apply, where the owner of a value says what it is.

use std::fmt::Write;

use serde_json::Value;

use super::Node;
use crate::decode;
use crate::kind::Kind;
use crate::schema::Schema;

/// Sets every field of `config`, a part of an object of `kind`, in `object`.
///
/// # Errors
/// With everything that is wrong with the configuration, by paths. The object is as it was then.
pub fn overlay(kind: &Kind, object: &mut Value, config: Value) -> Result<(), String> {
    let untyped = |why: String| format!("failed to convert patch object to typed object: {why}");
    let config = decode::part(kind, config).map_err(untyped)?;
    let schema = kind.schema();
    let root = Node::root(kind, &schema);
    let mut faults = Faults::default();
    inspect(&schema, &root, &config, &mut String::new(), &mut faults);
    if !faults.nameless.is_empty() {
        return Err(untyped(faults.nameless.join(", ")));
    }
    if !faults.whole.is_empty() {
        let paths = faults.whole.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"));
    }
    lay(&schema, &root, object, &config);
    Ok(())
}

#[derive(Default)]
struct Faults {
    /// Values that would be replaced as a whole.
    whole: Vec<String>,
    /// Lists of which not every item can be told from all others.
    nameless: Vec<String>,
}

fn inspect(schema: &Schema, node: &Node<'_>, config: &Value, path: &mut String, faults: &mut Faults) {
    let back = path.len();
    match config {
        Value::Object(map) if node.is_object() => {
            for (key, value) in map {
                // Writing to text cannot fail.
                let _ = write!(path, ".{key}");
                inspect(schema, &node.below(schema, key), value, path, faults);
                path.truncate(back);
            }
        }
        Value::Array(list) if node.is_list() => {
            if node.steps(schema, list).is_none() {
                let why = "associative list with keys has an element that omits a key field, or two of the same keys";
                faults.nameless.push(format!("{path}: {why}"));
            }
            for (index, item) in list.iter().enumerate() {
                let _ = write!(path, "[{index}]");
                inspect(schema, &node.item(schema), item, path, faults);
                path.truncate(back);
            }
        }
        Value::Object(_) | Value::Array(_) => faults.whole.push(path.clone()),
        _ => {}
    }
}

fn lay(schema: &Schema, node: &Node<'_>, live: &mut Value, config: &Value) {
    match (&mut *live, config) {
        (Value::Object(old), Value::Object(new)) if node.is_object() => {
            for (key, value) in new {
                match old.get_mut(key) {
                    Some(present) => lay(schema, &node.below(schema, key), present, value),
                    None => drop(old.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if node.is_list() => {
            for item in new {
                set(schema, node, old, item);
            }
        }
        _ => *live = config.clone(),
    }
}

/// Sets one item of a list. Of several that are there under its keys, one stays.
fn set(schema: &Schema, node: &Node<'_>, list: &mut Vec<Value>, item: &Value) {
    let step = node.step(schema, item);
    let same: Vec<usize> = (0..list.len()).filter(|at| node.step(schema, &list[*at]) == step).collect();
    let Some((first, others)) = same.split_first() else {
        list.push(item.clone());
        return;
    };
    lay(schema, &node.item(schema), &mut list[*first], item);
    for at in others.iter().rev() {
        list.remove(*at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::kind::{Registry, fixture};

    fn kind(plural: &str) -> Arc<Kind> {
        Registry::builtin().find(plural).expect("a kind").clone()
    }

    fn deployment(pod: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
            "spec": {"replicas": 1, "template": {"spec": pod}}})
    }

    /// The pod of a Deployment after a configuration of its pod was laid over it.
    fn laid(pod: Value, config: Value) -> Result<Value, String> {
        let mut object = deployment(pod);
        overlay(&kind("deployments"), &mut object, json!({"spec": {"template": {"spec": config}}}))?;
        Ok(object["spec"]["template"]["spec"].take())
    }

    #[test]
    fn what_is_named_is_set_and_all_else_stays() {
        let mut object = deployment(json!({"hostname": "h"}));
        let config = json!({"metadata": {"labels": {"b": "2"}, "annotations": {"x/y": "z"}}, "spec": {"replicas": 3}});
        overlay(&kind("deployments"), &mut object, config).expect("laid");
        assert_eq!(object["metadata"]["labels"], json!({"a": "1", "b": "2"}));
        assert_eq!(object["metadata"]["annotations"], json!({"x/y": "z"}));
        assert_eq!(object["spec"], json!({"replicas": 3, "template": {"spec": {"hostname": "h"}}}));
    }

    #[test]
    fn lists_are_merged_by_their_keys() {
        let two = json!({"volumes": [{"name": "x"}, {"name": "y"}]});
        let config = json!({"volumes": [{"name": "y", "hostPath": {"path": "a"}}, {"name": "z"}]});
        let expected = json!({"volumes": [{"name": "x"}, {"name": "y", "hostPath": {"path": "a"}}, {"name": "z"}]});
        assert_eq!(laid(two, config), Ok(expected));
        // Environments may have two of one name: those that are named become one, others stay.
        let twice = json!({"containers": [{"name": "c", "env": [{"name": "a", "value": "1"}, {"name": "b", "value": "1"},
            {"name": "a", "value": "2"}, {"name": "b", "value": "2"}]}]});
        let config = json!({"containers": [{"name": "c", "env": [{"name": "a", "value": "3"}]}]});
        let expected = json!({"containers": [{"name": "c", "env": [{"name": "a", "value": "3"},
            {"name": "b", "value": "1"}, {"name": "b", "value": "2"}]}]});
        assert_eq!(laid(twice, config), Ok(expected));
    }

    #[test]
    fn what_is_shared_as_a_whole_is_not_touched() {
        let args = json!({"containers": [{"name": "c", "args": ["--verbose"]}], "nodeSelector": {"a": "b"}});
        let why = laid(json!({}), args).unwrap_err();
        let paths = ".spec.template.spec.containers[0].args, .spec.template.spec.nodeSelector";
        assert_eq!(why, format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"));
    }

    #[test]
    fn what_the_schema_does_not_know_is_refused() {
        let mut object = deployment(json!({}));
        let before = object.clone();
        for (config, why) in [
            (json!({"spec": {"replicasx": 1}}), ".spec.replicasx: field not declared in schema"),
            (json!({"spec": {"replicas": "many"}}), "spec.replicas"),
            (json!({"spec": {"template": {"spec": {"volumes": [{"emptyDir": {}}]}}}}), ".spec.template.spec.volumes: "),
        ] {
            let text = config.to_string();
            let found = overlay(&kind("deployments"), &mut object, config).expect_err(&text);
            assert!(found.starts_with("failed to convert patch object to typed object: "), "{found}");
            assert!(found.contains(why), "{found}");
            assert_eq!(object, before, "{text}");
        }
    }

    #[test]
    fn kinds_that_users_define_say_themselves_how_values_are_shared() {
        let kind = fixture::kind(&fixture::version());
        let mut object = json!({"metadata": {"name": "w"}, "spec": {"ports": [{"port": 1, "name": "a"}]}});
        let config = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ports": [{"port": 2, "name": "b"}]}});
        overlay(&kind, &mut object, config).expect("laid");
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(object["spec"]["ports"].as_array().map(Vec::len), Some(2), "{object}");
    }
}
