//! Docker's credentials: `config.json` and the helper programs it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::image::error::ImageError;
use crate::image::options::Auth;
use crate::image::reference::{DEFAULT_REGISTRY, Reference};

/// The key of Docker's own registry in `config.json`.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const HELPER_TIME: Duration = Duration::from_secs(30);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Who to be at the registry of `reference`.
pub(super) async fn find(reference: &Reference, auth: &Auth) -> Result<RegistryAuth, ImageError> {
    match auth {
        Auth::Anonymous => Ok(RegistryAuth::Anonymous),
        Auth::Basic { username, password } => Ok(RegistryAuth::Basic(username.clone(), password.clone())),
        Auth::Bearer(token) => Ok(RegistryAuth::Bearer(token.clone())),
        Auth::DockerConfig(text) => from_config(reference, text, Path::new("the pull secret"), false).await,
        Auth::Configured => {
            let Some(path) = config_path() else { return Ok(RegistryAuth::Anonymous) };
            match tokio::fs::read_to_string(&path).await {
                Ok(text) => from_config(reference, &text, &path, true).await,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(RegistryAuth::Anonymous),
                Err(source) => Err(ImageError::Io { what: "read", path, source }),
            }
        }
    }
}

fn config_path() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker"))).map(|folder| folder.join("config.json"))
}

/// Reads credentials out of a configuration. Helpers run only for the machine's own one, never for a secret that some
/// user of the cluster wrote.
async fn from_config(
    reference: &Reference,
    text: &str,
    path: &Path,
    helpers: bool,
) -> Result<RegistryAuth, ImageError> {
    let registry = reference.registry();
    let refuse =
        |problem: String| ImageError::Credentials { registry: registry.to_owned(), path: path.to_owned(), problem };
    let config: DockerConfig = serde_json::from_str(text).map_err(|e| refuse(format!("it is malformed ({e})")))?;
    if helpers {
        let named = config.cred_helpers.iter().find(|(key, _)| matches(key, reference).is_some());
        if let Some(helper) = named.map(|(_, helper)| helper).or(config.creds_store.as_ref())
            && let Some(found) = ask_helper(helper, registry).await.map_err(refuse)?
        {
            return Ok(found);
        }
    }
    let best = config
        .auths
        .iter()
        .filter_map(|(key, entry)| matches(key, reference).map(|fit| (fit, entry)))
        .max_by_key(|(fit, _)| *fit);
    match best {
        Some((_, entry)) => entry.credentials().map_err(refuse),
        None => Ok(RegistryAuth::Anonymous),
    }
}

/// How well a key (`host`, `https://host/v1/`, `host/path`) fits; the longest path wins.
fn matches(key: &str, reference: &Reference) -> Option<usize> {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    let path = path.trim_matches('/');
    if host != reference.registry() {
        return None;
    }
    if matches!(path, "" | "v1" | "v2") {
        return Some(0);
    }
    let below = reference.repository().strip_prefix(path)?;
    (below.is_empty() || below.starts_with('/')).then_some(path.len())
}

impl Entry {
    fn credentials(&self) -> Result<RegistryAuth, String> {
        if !self.registrytoken.is_empty() {
            return Ok(RegistryAuth::Bearer(self.registrytoken.clone()));
        }
        if !self.identitytoken.is_empty() {
            return Err(NO_IDENTITY_TOKENS.into());
        }
        if !self.auth.is_empty() {
            let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth.trim());
            let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let (user, password) =
                text.as_deref().and_then(|t| t.split_once(':')).ok_or("its auth is not base64 of user:password")?;
            return Ok(RegistryAuth::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()));
        }
        if self.username.is_empty() {
            return Ok(RegistryAuth::Anonymous);
        }
        Ok(RegistryAuth::Basic(self.username.clone(), self.password.clone()))
    }
}

const NO_IDENTITY_TOKENS: &str =
    "it holds an identity token, which is not supported: log in with a user name and a password or access token";

/// Runs `docker-credential-<helper> get`.
async fn ask_helper(helper: &str, registry: &str) -> Result<Option<RegistryAuth>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Given {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    if helper.contains('/') {
        return Err(format!("\"{helper}\" is not the name of a credential helper"));
    }
    let key = if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry };
    let mut command = tokio::process::Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn().map_err(|e| format!("{program} could not be started ({e})"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends early says why on its output.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(|e| format!("{program} failed ({e})"))
    };
    let output =
        tokio::time::timeout(HELPER_TIME, run).await.map_err(|_| format!("{program} did not answer within 30 s"))??;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // The protocol's word for "nothing stored".
        return if text.contains("credentials not found") {
            Ok(None)
        } else {
            Err(format!("{program} says: {}", text.trim()))
        };
    }
    let given: Given =
        serde_json::from_str(&text).map_err(|e| format!("{program} answered something malformed ({e})"))?;
    match given.username.as_str() {
        "<token>" => Err(NO_IDENTITY_TOKENS.into()),
        "" => Ok(None),
        _ => Ok(Some(RegistryAuth::Basic(given.username, given.secret))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn from(text: &str, name: &str) -> Result<RegistryAuth, ImageError> {
        find(&Reference::parse(name).unwrap(), &Auth::DockerConfig(text.into())).await
    }

    fn basic(user: &str, password: &str) -> RegistryAuth {
        RegistryAuth::Basic(user.into(), password.into())
    }

    #[tokio::test]
    async fn the_most_specific_key_wins() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnB3OndpdGg6Y29sb25z"},
            "reg.example:5000":{"username":"u","password":"p"},
            "reg.example:5000/team":{"username":"t","password":"q"},
            "reg.example":{"username":"other","password":"port"}}}"#;
        assert_eq!(from(text, "redis").await.unwrap(), basic("hub", "pw:with:colons"));
        assert_eq!(from(text, "reg.example:5000/x").await.unwrap(), basic("u", "p"));
        assert_eq!(from(text, "reg.example:5000/team/x").await.unwrap(), basic("t", "q"));
        assert_eq!(from(text, "reg.example:5000/teams/x").await.unwrap(), basic("u", "p"));
        assert_eq!(from(text, "elsewhere.example/x").await.unwrap(), RegistryAuth::Anonymous);
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_said() {
        let bad = from(r#"{"auths":{"r.io":{"auth":"!!"}}}"#, "r.io/x").await.unwrap_err().to_string();
        assert!(bad.contains("r.io") && bad.contains("base64"), "{bad}");
        let token = from(r#"{"auths":{"r.io":{"identitytoken":"x"}}}"#, "r.io/x").await.unwrap_err().to_string();
        assert!(token.contains("identity token"), "{token}");
        assert!(from("{", "r.io/x").await.is_err());
    }

    #[tokio::test]
    async fn a_secret_never_runs_helpers() {
        let text = r#"{"credsStore":"no-such-helper","auths":{}}"#;
        assert_eq!(from(text, "r.io/x").await.unwrap(), RegistryAuth::Anonymous);
        let own = from_config(&Reference::parse("r.io/x").unwrap(), text, Path::new("config.json"), true).await;
        assert!(own.unwrap_err().to_string().contains("docker-credential-no-such-helper"));
    }
}
