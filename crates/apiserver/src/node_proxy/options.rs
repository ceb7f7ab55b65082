//! The options of a stream into a pod, or of a proxied request, as admission sees them: an object, made of the query.

use naru_api::{Status, Subresource};
use serde_json::{Value, json};

use crate::wire::query::Query;

/// The streams that a command may have.
const STREAMS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];

/// The options that a request names. `None`: admission has no say in it, for a log is only read.
///
/// # Errors
/// 400 for a value that means nothing.
pub(super) fn read(
    subresource: Subresource,
    collection: &str,
    query: &Query<'_>,
    rest: &str,
) -> Result<Option<Value>, Status> {
    let kind = match (subresource, collection) {
        (Subresource::Exec, _) => "PodExecOptions",
        (Subresource::Attach, _) => "PodAttachOptions",
        (Subresource::PortForward, _) => "PodPortForwardOptions",
        (Subresource::Proxy, "pods") => "PodProxyOptions",
        (Subresource::Proxy, "services") => "ServiceProxyOptions",
        (Subresource::Proxy, _) => "NodeProxyOptions",
        _ => return Ok(None),
    };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    match subresource {
        Subresource::Exec | Subresource::Attach => {
            for stream in STREAMS {
                if query.flag(stream)? {
                    options[stream] = true.into();
                }
            }
            if let Some(container) = query.get("container") {
                options["container"] = container.into();
            }
            let command: Vec<&str> = query.all("command").collect();
            if !command.is_empty() {
                options["command"] = json!(command);
            }
        }
        Subresource::PortForward => {
            let ports = query.all("ports").flat_map(|list| list.split(','));
            let ports: Vec<i32> = ports.filter_map(|port| port.trim().parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        _ if !rest.is_empty() => options["path"] = rest.into(),
        _ => {}
    }
    Ok(Some(options))
}

/// The query of a request whose options were changed to these. What they do not speak of stays. `None`: they are not of a
/// kind that can be changed.
pub(super) fn written(raw: Option<&str>, options: &Value) -> Option<String> {
    if !matches!(options["kind"].as_str(), Some("PodExecOptions" | "PodAttachOptions")) {
        return None;
    }
    let own = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        !key.is_empty() && !STREAMS.contains(&key) && !matches!(key, "container" | "command")
    };
    let mut pairs: Vec<String> = raw.unwrap_or_default().split('&').filter(own).map(str::to_owned).collect();
    pairs.extend(STREAMS.into_iter().filter(|stream| options[stream] == true).map(|stream| format!("{stream}=true")));
    pairs.extend(options["container"].as_str().map(|name| format!("container={}", encoded(name))));
    let command = options["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    pairs.extend(command.map(|word| format!("command={}", encoded(word))));
    Some(pairs.join("&"))
}

/// Text as a value in a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(subresource: Subresource, query: &str) -> Value {
        let query = Query::parse(Some(query)).expect("a query");
        read(subresource, "pods", &query, "a/b").expect("options").expect("admission has a say")
    }

    #[test]
    fn options_are_read_and_written_again() {
        let raw = "command=sh&command=-c&command=echo%20%26+x&stdin=1&stdout=false&user=root&container=web";
        let exec = options(Subresource::Exec, raw);
        let expected = json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "container": "web",
            "command": ["sh", "-c", "echo & x"]});
        assert_eq!(exec, expected);
        let again = written(Some(raw), &exec).expect("they can be changed");
        assert!(again.contains("user=root") && again.contains("command=echo%20%26%20x"), "{again}");
        assert_eq!(options(Subresource::Exec, &again), expected);
        let mut other = exec;
        other["container"] = "side".into();
        other["stdin"] = false.into();
        let changed = written(Some(raw), &other).expect("they can be changed");
        let read = options(Subresource::Exec, &changed);
        assert_eq!((&read["container"], read.get("stdin")), (&json!("side"), None));
    }

    #[test]
    fn others_say_what_they_are_about() {
        let forward = options(Subresource::PortForward, "ports=80,81&ports=82");
        assert_eq!(forward["ports"], json!([80, 81, 82]));
        let proxy = options(Subresource::Proxy, "");
        assert_eq!((&proxy["kind"], &proxy["path"]), (&json!("PodProxyOptions"), &json!("a/b")));
        assert_eq!(written(None, &proxy), None);
        let query = Query::parse(None).expect("a query");
        assert_eq!(read(Subresource::Log, "pods", &query, "").expect("no options"), None);
    }
}
