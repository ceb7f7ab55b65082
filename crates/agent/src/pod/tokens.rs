//! Service-account tokens for pods, renewed at four fifths of their life.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use naru_api::{
    View,
    k8s::api::core::v1::{Pod, ServiceAccount},
};
use naru_client::{Client, ClientError, Resource};
use parking_lot::Mutex;
use serde_json::json;

type Key = (String, String, i64);

#[derive(Clone)]
struct Issued {
    token: String,
    issued: Timestamp,
    renew_at: Timestamp,
}

impl Issued {
    /// Whether it need not be renewed yet. A clock that was set back says nothing of when.
    fn serves(&self, now: Timestamp) -> bool {
        self.issued <= now && now < self.renew_at
    }
}

/// When a token is to be renewed: after four fifths of its life, which is never longer than was asked for, whatever this
/// machine's clock makes of the server's word.
fn renew_at(now: Timestamp, expires: Option<Timestamp>, asked: Duration) -> Timestamp {
    let told = expires.and_then(|end| Duration::try_from(end.duration_since(now)).ok());
    let life = told.map_or(asked, |told| told.min(asked));
    now.checked_add(life * 4 / 5).unwrap_or(Timestamp::MAX)
}

/// Tokens in memory; after a restart of the agent they are asked for anew.
#[derive(Clone)]
pub(crate) struct Tokens {
    client: Client,
    issued: Arc<Mutex<BTreeMap<Key, Issued>>>,
}

impl Tokens {
    /// Over this client.
    pub fn new(client: Client) -> Tokens {
        Tokens { client, issued: Arc::default() }
    }

    /// A valid token for each audience and lifetime, and when the first is to be renewed.
    pub async fn get(
        &self,
        pod: &Pod,
        wanted: &BTreeSet<(String, i64)>,
        now: Timestamp,
    ) -> Result<(BTreeMap<(String, i64), String>, Option<Timestamp>), ClientError> {
        let mut tokens = BTreeMap::new();
        let mut first: Option<Timestamp> = None;
        for (audience, seconds) in wanted {
            let key = (pod.uid().to_owned(), audience.clone(), *seconds);
            let known = self.issued.lock().get(&key).filter(|issued| issued.serves(now)).cloned();
            let issued = match known {
                Some(issued) => issued,
                None => {
                    let issued = self.request(pod, audience, *seconds, now).await?;
                    self.issued.lock().insert(key, issued.clone());
                    issued
                }
            };
            first = Some(first.map_or(issued.renew_at, |first| first.min(issued.renew_at)));
            tokens.insert((audience.clone(), *seconds), issued.token);
        }
        Ok((tokens, first))
    }

    /// Forgets a pod's tokens.
    pub fn forget(&self, uid: &str) {
        self.issued.lock().retain(|(owner, ..), _| owner != uid);
    }

    async fn request(&self, pod: &Pod, audience: &str, seconds: i64, now: Timestamp) -> Result<Issued, ClientError> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()}},
        });
        let api = self.client.dynamic(Resource::of::<ServiceAccount>(), Some(pod.namespace()));
        let answer = api.create_subresource(account, "token", &request).await?;
        let token = answer["status"]["token"].as_str().unwrap_or_default().to_owned();
        let expires = answer["status"]["expirationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let asked = Duration::from_secs(u64::try_from(seconds).unwrap_or(3600));
        Ok(Issued { token, issued: now, renew_at: renew_at(now, expires, asked) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_keeps_no_token_beyond_its_life() {
        let at = |minute: i64| Timestamp::from_second(1_000_000 + minute * 60).expect("a time");
        let hour = Duration::from_secs(3600);
        assert_eq!(renew_at(at(0), Some(at(60)), hour), at(48));
        assert_eq!(renew_at(at(0), Some(at(10)), hour), at(8), "the server may give less");
        assert_eq!(renew_at(at(0), Some(at(120)), hour), at(48), "an hour behind the server");
        assert_eq!(renew_at(at(0), Some(at(-1)), hour), at(48), "an hour ahead of it");
        let issued = Issued { token: String::new(), issued: at(0), renew_at: at(48) };
        assert!(issued.serves(at(47)) && !issued.serves(at(48)));
        assert!(!issued.serves(at(-60)), "the clock was set back");
    }
}
