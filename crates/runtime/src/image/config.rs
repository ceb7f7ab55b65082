//! The image configuration: how a container of this image starts unless told otherwise.
//!
//! [`ConfigFile`] is the JSON document that an image's id is the digest of; it is read, never written back (unknown
//! fields would be lost and the id would change). [`ImageConfig`] is the part that runs containers, in plain types.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;

/// How a container of an image starts unless the pod says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the whole command when there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// `user`, `user:group`, `uid` or `uid:gid`; empty is root.
    pub user: String,
    /// Working directory; empty is `/`.
    pub workdir: String,
    /// Ports the image says it listens on, as `6379/tcp`, sorted.
    pub exposed: Vec<String>,
    /// Absolute paths that want a volume, sorted.
    pub volumes: Vec<String>,
    /// Signal that asks the program to stop, such as `SIGQUIT`.
    pub stop_signal: Option<String>,
    /// Check of the container's health.
    pub healthcheck: Option<Healthcheck>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The shell of shell-form commands, when the image names one.
    pub shell: Vec<String>,
}

/// An image's health check; absent times mean the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", program, args…]` or `["CMD-SHELL", script]`.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval: Option<Duration>,
    /// A check that takes longer has failed.
    pub timeout: Option<Duration>,
    /// Failures within this time after the start do not count.
    pub start_period: Option<Duration>,
    /// Time between checks within the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make the container unhealthy.
    pub retries: Option<u32>,
}

/// One step of an image's making, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339 time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command that made the layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whether the step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The configuration document (`application/vnd.oci.image.config.v1+json` and Docker's twin of it).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub config: RunSection,
    pub rootfs: RootfsSection,
    #[serde(deserialize_with = "null_is_default")]
    pub history: Vec<HistoryEntry>,
}

/// The `rootfs` part: uncompressed layers by digest, lowest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RootfsSection {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// The `config` part, with the field names of the document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunSection {
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthSection>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// The health check of the document: times are nanoseconds, 0 means the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HealthSection {
    #[serde(deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    pub retries: i64,
}

impl ConfigFile {
    /// The part that runs containers.
    pub(crate) fn image_config(&self) -> ImageConfig {
        let section = &self.config;
        ImageConfig {
            entrypoint: section.entrypoint.clone(),
            cmd: section.cmd.clone(),
            env: section.env.clone(),
            user: section.user.clone(),
            workdir: section.working_dir.clone(),
            exposed: section.exposed_ports.keys().map(|port| with_protocol(port)).collect(),
            volumes: section.volumes.keys().cloned().collect(),
            stop_signal: Some(section.stop_signal.clone()).filter(|signal| !signal.is_empty()),
            healthcheck: section.healthcheck.as_ref().map(HealthSection::healthcheck),
            labels: section.labels.clone(),
            shell: section.shell.clone(),
        }
    }
}

impl RunSection {
    /// The document's form of `config`, for images made here.
    pub(crate) fn of(config: &ImageConfig) -> RunSection {
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        RunSection {
            user: config.user.clone(),
            exposed_ports: config.exposed.iter().map(|port| (with_protocol(port), empty())).collect(),
            env: config.env.clone(),
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            volumes: config.volumes.iter().map(|path| (path.clone(), empty())).collect(),
            working_dir: config.workdir.clone(),
            labels: config.labels.clone(),
            stop_signal: config.stop_signal.clone().unwrap_or_default(),
            healthcheck: config.healthcheck.as_ref().map(HealthSection::of),
            shell: config.shell.clone(),
        }
    }
}

impl HealthSection {
    fn healthcheck(&self) -> Healthcheck {
        let time = |nanos: i64| u64::try_from(nanos).ok().filter(|n| *n > 0).map(Duration::from_nanos);
        Healthcheck {
            test: self.test.clone(),
            interval: time(self.interval),
            timeout: time(self.timeout),
            start_period: time(self.start_period),
            start_interval: time(self.start_interval),
            retries: u32::try_from(self.retries).ok().filter(|n| *n > 0),
        }
    }

    fn of(check: &Healthcheck) -> HealthSection {
        let nanos = |time: Option<Duration>| time.map_or(0, |t| i64::try_from(t.as_nanos()).unwrap_or(i64::MAX));
        HealthSection {
            test: check.test.clone(),
            interval: nanos(check.interval),
            timeout: nanos(check.timeout),
            start_period: nanos(check.start_period),
            start_interval: nanos(check.start_interval),
            retries: check.retries.map_or(0, i64::from),
        }
    }
}

fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

/// Go writes absent lists and maps as `null`.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Old builders wrote a command as one string.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Command {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Command>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Command::One(command)) => vec![command],
        Some(Command::Many(command)) => command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_as_engines_write_it() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"User":"redis","ExposedPorts":{"6379":{},"80/udp":{}},
            "Env":["A=1"],"Entrypoint":"run","Cmd":null,"Volumes":{"/data":{}},"Labels":null,"StopSignal":"SIGQUIT",
            "Healthcheck":{"Test":["CMD","x"],"Interval":5000000000,"Retries":3},"OnBuild":null},
            "rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"x","empty_layer":true}]}"#;
        let file: ConfigFile = serde_json::from_str(text).unwrap();
        let config = file.image_config();
        assert_eq!(config.exposed, ["6379/tcp", "80/udp"]);
        assert_eq!((config.entrypoint, config.cmd), (vec!["run".to_owned()], vec![]));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.timeout, check.retries), (Some(Duration::from_secs(5)), None, Some(3)));
        assert!(file.history[0].empty_layer);
    }

    #[test]
    fn a_config_survives_the_document() {
        let config = ImageConfig {
            entrypoint: vec!["a".into()],
            exposed: vec!["80/tcp".into()],
            volumes: vec!["/data".into()],
            stop_signal: Some("SIGINT".into()),
            healthcheck: Some(Healthcheck {
                test: vec!["NONE".into()],
                timeout: Some(Duration::from_millis(1500)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let file = ConfigFile { config: RunSection::of(&config), ..Default::default() };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<ConfigFile>(&text).unwrap().image_config(), config);
    }
}
