//! As whom this server speaks to further servers, and how it says for whom.
//!
//! A client certificate of an authority that signs nothing else proves that the headers are this server's. How to
//! recognise it stands in a ConfigMap that every further server reads, by the names that they look for.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use naru_api::Status;
use naru_client::ClientCertificate;
use naru_identity::{Authority, IdentityError};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::user::User;

/// The name in the certificate.
const NAME: &str = "front-proxy-client";
/// A new certificate is made this often, long before the old one ends.
const RENEW_EVERY: Duration = Duration::from_secs(60 * 24 * 3600);
const EXTRA: &str = "x-remote-extra-";

/// The headers that say for whom a request is.
const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");

/// What this server shows.
pub(super) struct Front {
    authority: Authority,
    current: Mutex<Option<Shown>>,
}

/// A certificate, and since when it is shown: who keeps connections keeps them for one certificate.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) certificate: ClientCertificate,
    pub(super) since: Instant,
}

// === impl Front ===

impl Front {
    pub(super) fn open(authority: &Authority) -> Result<Front, IdentityError> {
        Ok(Front { authority: authority.front_proxy()?, current: Mutex::default() })
    }

    /// The certificate to show.
    ///
    /// # Errors
    /// When none can be made.
    pub(super) fn shown(&self) -> Result<Shown, IdentityError> {
        let mut current = self.current.lock();
        if let Some(shown) = current.as_ref().filter(|shown| shown.since.elapsed() < RENEW_EVERY) {
            return Ok(shown.clone());
        }
        let issued = self.authority.client_certificate(NAME, &[])?;
        let certificate =
            ClientCertificate { certificate: issued.certificate.into_bytes(), key: issued.key.into_bytes() };
        let shown = Shown { certificate, since: Instant::now() };
        *current = Some(shown.clone());
        Ok(shown)
    }

    /// The ConfigMap by which this server is recognised; `clients` is the authority of users' own certificates.
    pub(super) fn introduction(&self, clients: &str) -> Value {
        let list = |word: &str| json!([word]).to_string();
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": clients,
            "requestheader-allowed-names": list(NAME),
            "requestheader-client-ca-file": self.authority.certificate(),
            "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
            "requestheader-group-headers": list("X-Remote-Group"),
            "requestheader-uid-headers": list("X-Remote-Uid"),
            "requestheader-username-headers": list("X-Remote-User"),
        }})
    }
}

/// Says for whom a request is. Whatever it said before is gone.
///
/// # Errors
/// When a name cannot stand in a header.
pub(super) fn introduce(headers: &mut HeaderMap, user: &User) -> Result<(), Status> {
    let said: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    said.iter().for_each(|name| drop(headers.remove(name)));
    let value = |text: &str| {
        HeaderValue::from_bytes(text.as_bytes())
            .map_err(|_| Status::internal(format!("{text:?} cannot be told to the server behind this one")))
    };
    headers.insert(USER, value(&user.name)?);
    if !user.uid.is_empty() {
        headers.insert(UID, value(&user.uid)?);
    }
    for group in &user.groups {
        headers.append(GROUP, value(group)?);
    }
    for (key, values) in &user.extra {
        let name = extra_header(key);
        let name = HeaderName::try_from(name.as_str()).map_err(Status::internal)?;
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(())
}

/// The header of a further fact about a user: what no header's name may hold is percent-encoded.
fn extra_header(key: &str) -> String {
    let mut name = EXTRA.to_owned();
    for byte in key.bytes() {
        // RFC 9110, 5.6.2; the percent sign itself would be taken for an encoding.
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_told_whole_and_nobody_else_is() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("everything"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut user = User::new("kim", &["ops"]);
        user.uid = "42".to_owned();
        user.extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        introduce(&mut headers, &user).expect("told");
        let of = |name: &str| -> Vec<&str> {
            headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
        };
        assert_eq!(of("x-remote-user"), ["kim"]);
        assert_eq!(of("x-remote-uid"), ["42"]);
        assert_eq!(of("x-remote-group"), ["ops", "system:authenticated"]);
        assert_eq!(of("x-remote-extra-authentication.kubernetes.io%2fnode-name"), ["a", "b"]);
        assert_eq!((of("x-remote-extra-scopes").len(), of("accept").len()), (0, 1));
    }

    #[test]
    fn what_breaks_out_of_a_header_is_not_told() {
        introduce(&mut HeaderMap::new(), &User::new("kim\r\nx-remote-group: system:masters", &[]))
            .expect_err("refused");
    }
}
