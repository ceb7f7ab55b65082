//! What a definition leaves out, and what the server writes into it.

use serde_json::{Value, json};

use super::read::{list, text};

/// Fills in what a definition leaves out. Doing it twice changes nothing.
pub fn fill(crd: &mut Value) {
    let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut set = |key: &str, value: String| {
            let absent = names.get(key).and_then(Value::as_str).unwrap_or_default().is_empty();
            if absent && !kind.is_empty() {
                names.insert(key.to_owned(), value.into());
            }
        };
        set("singular", kind.to_lowercase());
        set("listKind", format!("{kind}List"));
    }
    if spec.get("conversion").is_none_or(Value::is_null) {
        spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
    }
    let service = spec["conversion"].pointer_mut("/webhook/clientConfig/service").and_then(Value::as_object_mut);
    if let Some(service) = service
        && service.get("port").is_none_or(Value::is_null)
    {
        service.insert("port".to_owned(), 443.into());
    }
}

/// Makes a definition ready to be written: the storage version counts as stored from now on, and what was stored before
/// stays so. For new definitions `old` is none.
pub fn prepare(old: Option<&Value>, crd: &mut Value) {
    let mut stored: Vec<Value> = old.map_or_else(Vec::new, |old| list(&old["status"]["storedVersions"]).to_vec());
    let storage = list(&crd["spec"]["versions"]).iter().find(|v| v["storage"] == true).map(|v| v["name"].clone());
    if let Some(storage) = storage.filter(|name| !text(name).is_empty() && !stored.contains(name)) {
        stored.push(storage);
    }
    if !crd["status"].is_object() {
        crd["status"] = json!({});
    }
    crd["status"]["storedVersions"] = stored.into();
}
