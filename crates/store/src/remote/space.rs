//! The keys in etcd, all under one prefix:
//!
//! | key | what |
//! |---|---|
//! | `o/<collection>/<namespace>/<name>` | an object, as every engine stores it |
//! | `d/<collection>` | written by every transaction that deletes from the collection |
//! | `tick` | written by every transaction: which server's, and its number there |
//! | `identity` | the cluster's random name, and what is added to etcd's revisions |
//! | `compacted` | how far etcd was last compacted, for the servers to take turns |

use bytes::Bytes;

use crate::engine::ClusterId;
use crate::{Key, OpenError};

/// Which etcd keeps the store, and under which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Where it is and who asks.
    pub connection: naru_etcd::Config,
    /// What all keys begin with, so that clusters can share an etcd. A slash at its end is added.
    pub prefix: String,
}

/// Names of keys in etcd.
#[derive(Clone, Debug)]
pub(super) struct Space {
    prefix: String,
}

/// A key of ours that something happened to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Object(Key),
    Tick,
    Identity,
    /// One that only conditions look at.
    Guard,
    /// Nothing of ours.
    Strange,
}

impl Space {
    pub fn new(prefix: &str) -> Space {
        let slash = if prefix.ends_with('/') { "" } else { "/" };
        Space { prefix: [prefix, slash].concat() }
    }

    fn key(&self, parts: &[&str]) -> Bytes {
        let mut key = self.prefix.clone();
        parts.iter().for_each(|part| key.push_str(part));
        key.into()
    }

    /// Everything, as a range.
    pub fn all(&self) -> (Bytes, Bytes) {
        self.range("")
    }

    /// All objects, or those of one collection.
    pub fn objects(&self, collection: Option<&str>) -> (Bytes, Bytes) {
        match collection {
            None => self.range("o/"),
            Some(collection) => self.range(&["o/", collection, "/"].concat()),
        }
    }

    /// What deletions write: of all collections, or of one.
    pub fn deletions(&self, collection: Option<&str>) -> (Bytes, Bytes) {
        match collection {
            None => self.range("d/"),
            Some(collection) => (self.deleted(collection), Bytes::new()),
        }
    }

    pub fn object(&self, key: &Key) -> Bytes {
        self.key(&["o/", key.as_str()])
    }

    pub fn deleted(&self, collection: &str) -> Bytes {
        self.key(&["d/", collection])
    }

    pub fn tick(&self) -> Bytes {
        self.key(&["tick"])
    }

    pub fn identity(&self) -> Bytes {
        self.key(&["identity"])
    }

    pub fn compacted(&self) -> Bytes {
        self.key(&["compacted"])
    }

    pub fn place(&self, key: &[u8]) -> Place {
        let Some(rest) = key.strip_prefix(self.prefix.as_bytes()) else { return Place::Strange };
        let Ok(rest) = std::str::from_utf8(rest) else { return Place::Strange };
        match rest {
            "tick" => Place::Tick,
            "identity" => Place::Identity,
            "compacted" => Place::Guard,
            _ => match rest.split_at_checked(2) {
                Some(("o/", text)) => Key::parse(text).map_or(Place::Strange, Place::Object),
                Some(("d/", _)) => Place::Guard,
                _ => Place::Strange,
            },
        }
    }

    /// The keys that begin with the prefix and `within`: from, and to before.
    fn range(&self, within: &str) -> (Bytes, Bytes) {
        let start = [&self.prefix, within].concat();
        let mut end = start.clone().into_bytes();
        // All our prefixes end with a slash, which another byte follows.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        (start.into(), end.into())
    }
}

/// What `tick` holds: the server's number and the transaction's.
pub(super) fn tick(instance: u64, token: u64) -> Bytes {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&instance.to_be_bytes());
    value[8..].copy_from_slice(&token.to_be_bytes());
    Bytes::copy_from_slice(&value)
}

pub(super) fn read_tick(value: &[u8]) -> Option<(u64, u64)> {
    let (instance, token) = value.split_at_checked(8)?;
    Some((u64::from_be_bytes(instance.try_into().ok()?), u64::from_be_bytes(token.try_into().ok()?)))
}

/// What the key `identity` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub cluster: ClusterId,
    pub offset: u64,
}

/// The form of everything in etcd; raised when an older program could not read it.
const VERSION: u32 = 1;

impl Identity {
    pub fn text(&self) -> String {
        format!("naru {VERSION}\ncluster {}\noffset {}\n", self.cluster, self.offset)
    }

    pub fn parse(prefix: &str, value: &[u8]) -> Result<Identity, OpenError> {
        let foreign = || OpenError::Foreign { prefix: prefix.to_owned() };
        let text = std::str::from_utf8(value).map_err(|_| foreign())?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let found: u32 = field("naru").and_then(|text| text.parse().ok()).ok_or_else(foreign)?;
        if found > VERSION {
            return Err(OpenError::Version { file: format!("etcd:{prefix}").into(), found, known: VERSION });
        }
        let cluster = field("cluster").and_then(hexadecimal).ok_or_else(foreign)?;
        let offset = field("offset").and_then(|text| text.parse().ok()).ok_or_else(foreign)?;
        Ok(Identity { cluster: ClusterId(cluster), offset })
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    let number = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok())??;
    Some(number.to_be_bytes())
}

impl Space {
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_again_by_their_names() {
        let space = Space::new("/naru");
        let key = Key::new("deployments.apps", "shop", "web");
        assert_eq!(space.object(&key), "/naru/o/deployments.apps/shop/web");
        assert_eq!(space.place(&space.object(&key)), Place::Object(key.clone()));
        assert_eq!(space.place(&space.tick()), Place::Tick);
        assert_eq!(space.place(&space.identity()), Place::Identity);
        assert_eq!(space.place(&space.deleted("pods")), Place::Guard);
        for strange in ["/other/o/pods/a/b", "/naru/o/pods", "/naru/x", "/naru/"] {
            assert_eq!(space.place(strange.as_bytes()), Place::Strange, "{strange}");
        }
    }

    #[test]
    fn ranges_hold_their_keys_and_no_others() {
        let space = Space::new("/naru/");
        let within = |(start, end): &(Bytes, Bytes), key: &str| {
            start.as_ref() <= key.as_bytes() && key.as_bytes() < end.as_ref()
        };
        let pods = space.objects(Some("pods"));
        assert!(within(&pods, "/naru/o/pods/a/b") && within(&pods, "/naru/o/pods//b"));
        assert!(!within(&pods, "/naru/o/pods.metrics/a/b") && !within(&pods, "/naru/o/podtemplates/a/b"));
        assert!(within(&space.objects(None), "/naru/o/zones//b") && !within(&space.objects(None), "/naru/tick"));
        assert!(within(&space.all(), "/naru/tick") && !within(&space.all(), "/naru2/tick"));
    }

    #[test]
    fn an_identity_is_read_back_and_a_strange_one_named() {
        let identity = Identity { cluster: ClusterId([7; 16]), offset: 1 << 40 };
        assert_eq!(Identity::parse("/naru/", identity.text().as_bytes()).unwrap(), identity);
        assert!(matches!(Identity::parse("/naru/", b"registry"), Err(OpenError::Foreign { .. })));
        let newer = identity.text().replace("naru 1", "naru 2");
        assert!(matches!(Identity::parse("/naru/", newer.as_bytes()), Err(OpenError::Version { found: 2, .. })));
    }

    #[test]
    fn ticks_are_read_back() {
        assert_eq!(read_tick(&tick(7, u64::MAX)), Some((7, u64::MAX)));
        assert_eq!(read_tick(b"short"), None);
    }
}
