//! What the table of keys cannot see: references that lead nowhere, circles, and values that exclude one another.

use std::collections::BTreeSet;
use std::path::Path;

use super::Files;
use crate::canonical::range;
use crate::error::{ComposeError, Position};
use crate::yaml::{Name, Node};

/// Every fault of the merged project.
pub(super) fn verify(tree: &Node, disabled: &BTreeSet<String>, files: &dyn Files, faults: &mut Vec<ComposeError>) {
    let mut check = Check { tree, disabled, files, faults };
    for (name, service) in entries(tree, "services") {
        check.service(name, service);
    }
    check.published_ports();
    check.circles();
    for section in ["configs", "secrets"] {
        for (name, entry) in entries(tree, section) {
            check.content(section, name, entry);
        }
    }
    check.drivers();
}

/// What a constraint may be about, for words.
const NODE_PROPERTIES: &str =
    "node.id, node.hostname, node.role, node.platform.os, node.platform.arch, node.labels.NAME, engine.labels.NAME";

/// Whether it is one of these; a label's bare name is one, too.
fn is_node_property(key: &str) -> bool {
    let label = key.strip_prefix("node.labels.").or_else(|| key.strip_prefix("engine.labels."));
    match label {
        Some(label) => !label.is_empty(),
        None if key.starts_with("node.") || key.starts_with("engine.") => {
            ["node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch"].contains(&key)
        }
        None => !key.is_empty(),
    }
}

struct Check<'a> {
    tree: &'a Node,
    disabled: &'a BTreeSet<String>,
    files: &'a dyn Files,
    faults: &'a mut Vec<ComposeError>,
}

impl<'a> Check<'a> {
    fn fault(&mut self, at: &Position, key: impl Into<String>, problem: impl Into<String>) {
        self.faults.push(ComposeError::invalid(at, key, problem));
    }

    fn service(&mut self, name: &'a Name, service: &'a Node) {
        let path = format!("services.{}", name.text);
        let valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !name.text.chars().all(valid) || !name.text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            self.fault(&name.at, &path, "a service's name has letters, digits, \".\", \"_\" and \"-\"");
        }
        if service.get("image").is_none() && service.get("build").is_none() {
            self.fault(&name.at, &path, "expected `image` or `build`");
        }
        if let Some(image) = service.get("image")
            && let Some(name) = image.as_text()
            && !is_image(name)
        {
            let problem = format!("expected [REGISTRY/]NAME[:TAG][@DIGEST], the name in lower case, found {name:?}");
            self.fault(&image.at, format!("{path}.image"), problem);
        }
        self.references(&path, service);
        self.words(&path, service);
        self.replicas(&path, service);
        self.placement(&path, service);
        for (at, mount) in list(service, "volumes").iter().enumerate() {
            self.mount(&format!("{path}.volumes[{at}]"), mount);
        }
        self.targets(&path, service);
        self.contradictions(&path, service);
        self.forms(&path, service);
    }

    fn references(&mut self, path: &str, service: &'a Node) {
        for (name, _) in entries(service, "networks") {
            self.must_have("networks", &name.text, &name.at, &format!("{path}.networks"));
        }
        for section in ["configs", "secrets"] {
            for reference in list(service, section) {
                let source = text(reference, "source").unwrap_or_default();
                self.must_have(section, source, &reference.at, &format!("{path}.{section}"));
            }
        }
        for (name, dependency) in entries(service, "depends_on") {
            let required = dependency.get("required").and_then(Node::as_bool).unwrap_or(true);
            let key = format!("{path}.depends_on");
            if required && self.disabled.contains(&name.text) {
                let problem = format!("{:?} is left out by its profiles: activate one with --profile", name.text);
                self.fault(&name.at, key, problem);
            } else if required {
                self.must_have("services", &name.text, &name.at, &key);
            }
        }
        for key in ["network_mode", "ipc", "pid"] {
            if let Some(other) = service.get(key).and_then(|n| n.as_text()?.strip_prefix("service:")) {
                let at = service.get(key).map_or(&service.at, |n| &n.at);
                self.must_have("services", other, at, &format!("{path}.{key}"));
            }
        }
        for (section, key) in [("links", "links"), ("volumes_from", "volumes_from")] {
            for item in list(service, section) {
                let other = item.as_text().unwrap_or_default().split(':').next().unwrap_or_default();
                self.must_have("services", other, &item.at, &format!("{path}.{key}"));
            }
        }
        let mode = service.get("network_mode").filter(|n| n.as_text() != Some("bridge"));
        if let (Some(mode), Some(networks)) = (mode, service.get("networks").filter(|n| !n.is_null())) {
            let problem = format!("excludes `networks` (at {}): keep one of them", networks.at);
            self.fault(&mode.at, format!("{path}.network_mode"), problem);
        }
    }

    fn must_have(&mut self, section: &str, name: &str, at: &Position, key: &str) {
        let known: Vec<&str> = entries(self.tree, section).map(|(name, _)| name.text.as_str()).collect();
        if known.contains(&name) {
            return;
        }
        let kind = section.trim_end_matches('s');
        let hint = match (section, known.is_empty()) {
            ("services", true) => String::new(),
            ("services", false) => format!("; the project has {}", known.join(", ")),
            _ => format!("; define it under the top-level `{section}`"),
        };
        self.fault(at, key, format!("the {kind} {name:?} is not defined{hint}"));
    }

    /// Values that are one of some words, or a word with an argument.
    fn words(&mut self, path: &str, service: &'a Node) {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        type Rule<'r> = (&'r str, &'r str, &'r dyn Fn(&str) -> bool);
        let rules: [Rule<'_>; 10] = [
            ("restart", "no, always, unless-stopped, on-failure or on-failure:<times>", &|v| {
                matches!(v, "no" | "always" | "unless-stopped" | "on-failure")
                    || v.strip_prefix("on-failure:").is_some_and(number)
            }),
            ("pull_policy", "always, never, missing, if_not_present, build, daily, weekly or every_<time>", &|v| {
                matches!(
                    v,
                    "always" | "never" | "missing" | "if_not_present" | "build" | "daily" | "weekly" | "refresh"
                ) || v.strip_prefix("every_").is_some_and(|t| crate::units::Span::parse(t).is_some())
            }),
            ("network_mode", "host, none, bridge or service:<name>", &|v| {
                matches!(v, "host" | "none" | "bridge") || v.starts_with("service:")
            }),
            ("ipc", "host, shareable, private, none or service:<name>", &|v| {
                matches!(v, "host" | "shareable" | "private" | "none") || v.starts_with("service:")
            }),
            ("pid", "host or service:<name>", &|v| v == "host" || v.starts_with("service:")),
            ("cgroup", "private", &|v| v == "private"),
            ("userns_mode", "host", &|v| v == "host"),
            ("isolation", "default", &|v| v == "default"),
            ("runtime", "runc", &|v| v == "runc" || v == "io.containerd.runc.v2"),
            ("oom_kill_disable", "false", &|v| v == "false"),
        ];
        for (key, expected, valid) in rules {
            if let Some(node) = service.get(key)
                && let Some(value) = node.as_text()
                && !valid(value)
            {
                self.fault(&node.at, format!("{path}.{key}"), format!("expected {expected}, found {value:?}"));
            }
        }
        for option in list(service, "security_opt") {
            let value = option.as_text().unwrap_or_default();
            let known = value == "no-new-privileges"
                || ["no-new-privileges:", "no-new-privileges=", "seccomp:", "seccomp=", "apparmor:", "apparmor="]
                    .iter()
                    .any(|prefix| value.starts_with(prefix))
                || matches!(value, "systempaths=unconfined" | "label:disable" | "label=disable");
            if !known {
                let problem = format!(
                    "expected no-new-privileges, seccomp=…, apparmor=…, systempaths=unconfined or label:disable, found {value:?}"
                );
                self.fault(&option.at, format!("{path}.security_opt"), problem);
            }
        }
        if let Some(driver) = service.get("logging").and_then(|l| l.get("driver"))
            && !matches!(driver.as_text(), None | Some("json-file" | "local" | "none"))
        {
            let problem = "expected json-file, local or none: logs are kept by Naru";
            self.fault(&driver.at, format!("{path}.logging.driver"), problem);
        }
    }

    fn replicas(&mut self, path: &str, service: &'a Node) {
        let deploy = service.get("deploy");
        let replicas = deploy.and_then(|d| d.get("replicas"));
        let scale = service.get("scale");
        if let (Some(a), Some(b)) = (scale, replicas)
            && a.as_int() != b.as_int()
        {
            self.fault(&a.at, format!("{path}.scale"), format!("contradicts `deploy.replicas` at {}", b.at));
        }
        let wanted = scale.or(replicas);
        if let Some(node) = wanted
            && node.as_int().is_some_and(|n| n < 0)
        {
            self.fault(&node.at, path, "expected zero or more replicas");
        }
        let several = wanted.and_then(Node::as_int).is_some_and(|n| n > 1);
        if let (Some(name), true) = (service.get("container_name"), several) {
            let problem = "one name cannot serve several replicas: remove it, or set one replica";
            self.fault(&name.at, format!("{path}.container_name"), problem);
        }
        if let Some(mode) = deploy.and_then(|d| d.get("mode"))
            && mode.as_text() == Some("global-job")
        {
            let problem = "not supported: `global-job`; use `replicated-job`";
            self.fault(&mode.at, format!("{path}.deploy.mode"), problem);
        }
    }

    /// A constraint that is not understood would let containers run anywhere.
    fn placement(&mut self, path: &str, service: &'a Node) {
        let Some(placement) = service.get("deploy").and_then(|deploy| deploy.get("placement")) else { return };
        for constraint in list(placement, "constraints") {
            let text = constraint.as_text().unwrap_or_default();
            let parts = text.split_once("!=").or_else(|| text.split_once("=="));
            let parts = parts.map(|(key, value)| (key.trim(), value.trim()));
            let known = parts.is_some_and(|(key, value)| is_node_property(key) && !value.is_empty());
            let role = parts.is_none_or(|(key, value)| key != "node.role" || matches!(value, "manager" | "worker"));
            if !known || !role {
                let problem = format!(
                    "expected KEY==VALUE or KEY!=VALUE, KEY one of {NODE_PROPERTIES}; a role is manager or worker; found {text:?}"
                );
                self.fault(&constraint.at, format!("{path}.deploy.placement.constraints"), problem);
            }
        }
        for preference in list(placement, "preferences") {
            let Some(spread) = preference.get("spread") else { continue };
            if !is_node_property(spread.as_text().unwrap_or_default()) {
                let problem =
                    format!("expected one of {NODE_PROPERTIES}, found {:?}", spread.as_text().unwrap_or_default());
                self.fault(&spread.at, format!("{path}.deploy.placement.preferences"), problem);
            }
        }
    }

    fn mount(&mut self, path: &str, mount: &'a Node) {
        let source = text(mount, "source");
        match (text(mount, "type").unwrap_or("volume"), source) {
            ("volume", Some(source)) => self.must_have("volumes", source, &mount.at, path),
            ("bind", None) => self.fault(&mount.at, path, "expected `source`: a path on the machine"),
            ("bind", Some(source)) => {
                let make = mount.get("bind").and_then(|b| b.get("create_host_path")).and_then(Node::as_bool);
                if make != Some(true) && !self.files.exists(Path::new(source)) {
                    let problem = format!("{source} is not there: make it, or set `bind.create_host_path: true`");
                    self.fault(&mount.at, path, problem);
                }
            }
            (kind @ ("cluster" | "npipe" | "image"), _) => {
                let problem = format!("not supported: mounts of type {kind:?}; use bind, volume or tmpfs");
                self.fault(&mount.at, path, problem);
            }
            _ => {}
        }
    }

    /// Two mounts cannot be in one place.
    fn targets(&mut self, path: &str, service: &'a Node) {
        let mut taken: Vec<(&str, &Position)> = Vec::new();
        let tmpfs = list(service, "tmpfs").iter().filter_map(|n| Some((n.as_text()?.split(':').next()?, &n.at)));
        let mounts = list(service, "volumes").iter().filter_map(|n| Some((text(n, "target")?, &n.at)));
        for (target, at) in tmpfs.chain(mounts) {
            let target = target.trim_end_matches('/');
            match taken.iter().find(|(known, _)| *known == target) {
                Some((_, first)) => {
                    let problem =
                        format!("{target} is also mounted at {first}: a place holds one mount, keep one of them");
                    self.fault(at, format!("{path}.volumes"), problem);
                }
                None => taken.push((target, at)),
            }
        }
    }

    /// One thing said twice, otherwise.
    fn contradictions(&mut self, path: &str, service: &'a Node) {
        let resources = service.get("deploy").and_then(|d| d.get("resources"));
        let limit = |section: &str, key: &str| resources.and_then(|r| r.get(section)?.get(key));
        let size = |node: &Node| node.as_text().and_then(crate::units::Size::parse).map(|size| size.0 as f64);
        let number = |node: &Node| node.as_float();
        type Reader<'r> = &'r dyn Fn(&Node) -> Option<f64>;
        let pairs: [(&str, &str, &str, Reader<'_>); 4] = [
            ("cpus", "limits", "cpus", &number),
            ("mem_limit", "limits", "memory", &size),
            ("pids_limit", "limits", "pids", &number),
            ("mem_reservation", "reservations", "memory", &size),
        ];
        for (key, section, name, read) in pairs {
            if let (Some(short), Some(long)) = (service.get(key), limit(section, name))
                && read(short) != read(long)
            {
                let problem =
                    format!("contradicts `deploy.resources.{section}.{name}` at {}: keep one of them", long.at);
                self.fault(&short.at, format!("{path}.{key}"), problem);
            }
        }
        let build = service.get("build");
        let file = |key: &str| build.and_then(|b| b.get(key)).filter(|n| !n.is_null());
        if let (Some(inline), Some(named)) = (file("dockerfile_inline"), file("dockerfile")) {
            let problem = format!("excludes `dockerfile` at {}: keep one of them", named.at);
            self.fault(&inline.at, format!("{path}.build.dockerfile_inline"), problem);
        }
    }

    /// Texts with a form of their own.
    fn forms(&mut self, path: &str, service: &'a Node) {
        for rule in list(service, "device_cgroup_rules") {
            if !rule.as_text().is_some_and(is_device_rule) {
                let problem =
                    format!("expected TYPE MAJOR:MINOR ACCESS, as in \"c 1:3 mr\", found {}", rule.describe());
                self.fault(&rule.at, format!("{path}.device_cgroup_rules"), problem);
            }
        }
        for entry in list(service, "tmpfs") {
            if let Err(problem) = crate::canonical::tmpfs_options(entry.as_text().unwrap_or_default()) {
                self.fault(&entry.at, format!("{path}.tmpfs"), problem);
            }
        }
        if let Some(test) = service.get("healthcheck").and_then(|h| h.get("test"))
            && let Some(first) = test.as_list().and_then(<[_]>::first)
            && !matches!(first.as_text(), Some("NONE" | "CMD" | "CMD-SHELL"))
        {
            let problem = format!("a list begins with NONE, CMD or CMD-SHELL, found {}", first.describe());
            self.fault(&first.at, format!("{path}.healthcheck.test"), problem);
        }
        for (section, key) in [("secrets", "uid"), ("secrets", "gid"), ("configs", "uid"), ("configs", "gid")] {
            for reference in list(service, section) {
                if let Some(node) = reference.get(key)
                    && node.as_text().is_some_and(|id| id.parse::<u32>().is_err())
                {
                    let problem = format!("expected a number, found {}", node.describe());
                    self.fault(&node.at, format!("{path}.{section}.{key}"), problem);
                }
            }
        }
        for port in list(service, "ports") {
            if let Some(node) = port.get("host_ip")
                && node.as_text().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_err())
            {
                let problem = format!("expected an IP address, found {}", node.describe());
                self.fault(&node.at, format!("{path}.ports.host_ip"), problem);
            }
        }
        for mount in list(service, "volumes") {
            if let Some(node) = mount.get("bind").and_then(|b| b.get("recursive"))
                && !matches!(node.as_text(), None | Some("enabled"))
            {
                let problem = "not supported: what is mounted below is always seen too; remove it";
                self.fault(&node.at, format!("{path}.volumes.bind.recursive"), problem);
            }
        }
    }

    fn published_ports(&mut self) {
        let mut taken: Vec<(String, String, u16, String, &Position)> = Vec::new();
        for (name, service) in entries(self.tree, "services") {
            for (at, port) in list(service, "ports").iter().enumerate() {
                let Some((low, high)) = text(port, "published").and_then(range) else { continue };
                if low != high {
                    continue; // any free one of a range is taken
                }
                let host = text(port, "host_ip").unwrap_or_default().to_owned();
                let protocol = text(port, "protocol").unwrap_or("tcp").to_owned();
                let any = |host: &str| matches!(host, "" | "0.0.0.0" | "::");
                let clash = taken.iter().find(|(_, h, p, proto, _)| {
                    *p == low && *proto == protocol && (*h == host || any(h) || any(&host))
                });
                if let Some((other, _, _, _, place)) = clash {
                    let problem = format!("{low}/{protocol} is also published by {other:?} at {place}");
                    self.faults.push(ComposeError::invalid(
                        &port.at,
                        format!("services.{}.ports[{at}]", name.text),
                        problem,
                    ));
                } else {
                    taken.push((name.text.clone(), host, low, protocol, &port.at));
                }
            }
        }
    }

    /// A circle of `depends_on` would wait for itself.
    fn circles(&mut self) {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        for (name, _) in entries(self.tree, "services") {
            let mut way: Vec<&str> = Vec::new();
            if let Some(circle) = self.walk(&name.text, &mut way, &mut done) {
                let problem = format!("a circle: {}", circle.join(" → "));
                self.fault(&name.at, format!("services.{}.depends_on", name.text), problem);
                return;
            }
        }
    }

    fn walk(&self, name: &'a str, way: &mut Vec<&'a str>, done: &mut BTreeSet<&'a str>) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|step| *step == name) {
            return Some(way[start..].iter().copied().chain([name]).collect());
        }
        if !done.contains(name) {
            way.push(name);
            let service = self.tree.get("services").and_then(|s| s.get(name));
            let next = service.and_then(|s| s.get("depends_on")).and_then(Node::as_map).unwrap_or_default();
            for (dependency, _) in next {
                if let Some(circle) = self.walk(&dependency.text, way, done) {
                    return Some(circle);
                }
            }
            way.pop();
            done.insert(name);
        }
        None
    }

    fn content(&mut self, section: &str, name: &'a Name, entry: &'a Node) {
        let key = format!("{section}.{}", name.text);
        let given: Vec<&str> = ["file", "environment", "content"]
            .into_iter()
            .filter(|k| entry.get(k).is_some_and(|n| !n.is_null()))
            .collect();
        let external = entry.get("external").and_then(Node::as_bool).unwrap_or(false);
        match (external, given.as_slice()) {
            (true, []) | (false, [_]) => {}
            (true, [..]) => self.fault(&name.at, &key, "`external` excludes its content"),
            (false, []) => self.fault(&name.at, &key, "expected one of `file`, `environment`, `content`, `external`"),
            (false, several) => {
                self.fault(&name.at, &key, format!("expected one source, found {}", several.join(" and ")));
            }
        }
        if let Some(node) = entry.get("file")
            && let Some(path) = node.as_text()
            && !self.files.exists(Path::new(path))
        {
            self.fault(&node.at, format!("{key}.file"), format!("{path} is not there"));
        }
    }

    fn drivers(&mut self) {
        for section in ["networks", "volumes"] {
            for (name, entry) in entries(self.tree, section) {
                let external = entry.get("external").and_then(Node::as_bool) == Some(true);
                let more = entry.as_map().unwrap_or_default().iter().find(|(key, value)| {
                    !matches!(key.text.as_str(), "name" | "external") && !key.text.starts_with("x-") && !value.is_null()
                });
                if let Some((key, _)) = more.filter(|_| external) {
                    let problem = "`external` excludes it: what is made elsewhere has its properties already";
                    let path = format!("{section}.{}.{}", name.text, key.text);
                    self.faults.push(ComposeError::invalid(&key.at, path, problem));
                }
            }
        }
        for (section, known) in [("networks", "bridge overlay default host none"), ("volumes", "local")] {
            for (name, entry) in entries(self.tree, section) {
                if let Some(driver) = entry.get("driver")
                    && let Some(word) = driver.as_text()
                    && !known.split(' ').any(|k| k == word)
                {
                    let problem = format!("not supported: the driver {word:?}; expected {}", known.replace(' ', ", "));
                    self.faults.push(ComposeError::invalid(
                        &driver.at,
                        format!("{section}.{}.driver", name.text),
                        problem,
                    ));
                }
            }
        }
    }
}

/// `TYPE MAJOR:MINOR ACCESS`: a, b or c; numbers or `*`; of r, w, m.
fn is_device_rule(text: &str) -> bool {
    let number = |part: &str| part == "*" || !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = parts[..] else { return false };
    matches!(kind, "a" | "b" | "c")
        && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&access.len())
        && access.chars().all(|c| "rwm".contains(c))
}

/// Whether a text can name an image (the grammar of the distribution specification, loosely).
fn is_image(text: &str) -> bool {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let colon = rest.rfind(':').filter(|at| !rest[*at..].contains('/'));
    let (name, tag) = colon.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 1..])));
    let word = |part: &str, more: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    let mut parts = name.split('/').peekable();
    let first = parts.next().unwrap_or_default();
    // Only a registry's host may have capitals and a port.
    let host = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c)) && !part.is_empty();
    let first_fits = word(first, "._-") || parts.peek().is_some() && host(first);
    first_fits
        && parts.all(|part| word(part, "._-"))
        && tag.is_none_or(|t| {
            t.len() <= 128 && t.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !t.is_empty()
        })
        && digest.is_none_or(|d| d.split_once(':').is_some_and(|(kind, hex)| !kind.is_empty() && hex.len() >= 32))
}

fn entries<'a>(node: &'a Node, section: &str) -> impl Iterator<Item = (&'a Name, &'a Node)> {
    let found = node.get(section).and_then(Node::as_map).unwrap_or_default();
    found.iter().filter(|(name, _)| !name.text.starts_with("x-")).map(|(name, value)| (name, value))
}

fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::as_list).unwrap_or_default()
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key).and_then(Node::as_text)
}
