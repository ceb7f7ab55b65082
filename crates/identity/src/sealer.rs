//! Sealing of secrets at rest: AES-256-GCM with a random nonce, bound to where the value lies (its context), so that
//! a sealed value copied to another object does not open there.
//!
//! Envelope: `"ns1"`, the key's identifier (4 bytes), the nonce (12 bytes), ciphertext and tag. The key file lists
//! keys, newest last: the last one seals, all open, so that a rotation re-seals at leisure. Which places hold values of
//! older keys is remembered as they are opened, and every value is opened when the store is: so that is known after a
//! crash, too, without writing it down anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::files;

const MAGIC: &[u8; 3] = b"ns1";
const ID_LEN: usize = 4;
const HEADER_LEN: usize = MAGIC.len() + ID_LEN + NONCE_LEN;

/// Why a value was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file could not be read or written.
    #[error("cannot use the sealing key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line of the key file is not `<identifier> <base64 of 32 bytes>`.
    #[error("{path}:{line}: expected `<8 hex digits> <base64 of 32 bytes>`; restore the file from a backup")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The value was sealed with a key that is not in the key file.
    #[error("sealed with key {0}, which is not in the key file: restore the key file from a backup")]
    UnknownKey(String),
    /// The value was altered, cut short, or sealed for another place.
    #[error("the sealed value of {0} was altered or belongs elsewhere")]
    Damaged(String),
    /// Keys cannot be taken away yet.
    #[error("{0} values are still sealed with older keys: wait until they are sealed again")]
    Stale(usize),
    /// The system's random source failed.
    #[error("the system's random source failed")]
    Random,
}

/// One key, with the line of the file that it came from.
struct SealKey {
    id: [u8; ID_LEN],
    key: LessSafeKey,
    line: String,
}

/// Keys, the newest last. Never empty.
type Ring = Arc<[Arc<SealKey>]>;

/// Seals and opens stored values.
pub struct Sealer {
    path: PathBuf,
    ring: RwLock<Ring>,
    /// Where values lie that older keys than the newest sealed.
    stale: Mutex<BTreeSet<String>>,
    random: SystemRandom,
}

// === impl SealKey ===

impl SealKey {
    fn generate(random: &SystemRandom) -> Result<SealKey, SealError> {
        let (mut id, mut key) = ([0; ID_LEN], [0; 32]);
        random.fill(&mut id).map_err(|_| SealError::Random)?;
        random.fill(&mut key).map_err(|_| SealError::Random)?;
        let line = format!("{} {}", name(&id), BASE64.encode(key));
        SealKey::read(&line).ok_or(SealError::Random)
    }

    fn read(line: &str) -> Option<SealKey> {
        let (id, key) = line.split_once(' ')?;
        let id = u32::from_str_radix(id, 16).ok().filter(|_| id.len() == 2 * ID_LEN)?.to_be_bytes();
        let key = UnboundKey::new(&AES_256_GCM, &BASE64.decode(key).ok()?).ok()?;
        Some(SealKey { id, key: LessSafeKey::new(key), line: line.to_owned() })
    }
}

/// A key's identifier as people see it.
fn name(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl Sealer ===

impl Sealer {
    /// Opens the key file at `path`, or makes one with a fresh key.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood.
    pub fn open_or_create(path: &Path) -> Result<Self, SealError> {
        let random = SystemRandom::new();
        let file = |source| SealError::File { path: path.to_owned(), source };
        let ring = match read(path) {
            Ok(ring) => ring,
            Err(SealError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    files::private_dir(dir).map_err(file)?;
                }
                let ring = Ring::from([Arc::new(SealKey::generate(&random)?)]);
                write(path, &ring)?;
                ring
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), ring: RwLock::new(ring), stale: Mutex::default(), random })
    }

    fn ring(&self) -> Ring {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stale_places(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identifiers of the keys, the newest last.
    pub fn key_names(&self) -> Vec<String> {
        self.ring().iter().map(|key| name(&key.id)).collect()
    }

    /// Makes a new key, which seals from now on; those before it open. It is durable before it seals. `places` are where
    /// sealed values lie, which are stale by that.
    ///
    /// # Errors
    /// When the key file cannot be written: nothing has changed then.
    pub fn rotate(&self, places: impl IntoIterator<Item = String>) -> Result<String, SealError> {
        let made = Arc::new(SealKey::generate(&self.random)?);
        let mut present = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        // What another process added meanwhile stays.
        let newest = read(&self.path)?;
        let ring: Ring = newest.iter().cloned().chain([made.clone()]).collect();
        write(&self.path, &ring)?;
        *present = ring;
        // Before the new key is let go of: whoever renews a place must not take it for renewed by this one.
        self.stale_places().extend(places);
        Ok(name(&made.id))
    }

    /// Takes away all keys but the newest, and tells how many went.
    ///
    /// # Errors
    /// When values are there that they sealed, or the key file cannot be written: nothing has changed then.
    pub fn drop_old(&self) -> Result<usize, SealError> {
        let mut present = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let stale = self.stale_places().len();
        if stale > 0 {
            return Err(SealError::Stale(stale));
        }
        let newest: Ring = present.last().cloned().into_iter().collect();
        let gone = present.len() - newest.len();
        write(&self.path, &newest)?;
        *present = newest;
        Ok(gone)
    }

    /// Where values lie that are to be sealed again: older keys sealed them.
    pub fn stale(&self) -> Vec<String> {
        self.stale_places().iter().cloned().collect()
    }

    /// Says that what lies at a place was sealed again while the key `by` was the newest, or is gone.
    pub fn renewed(&self, place: &str, by: &str) {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if ring.last().is_some_and(|newest| name(&newest.id) == by) {
            self.stale_places().remove(place);
        }
    }

    /// Whether `value` is a sealed envelope.
    pub fn is_sealed(value: &[u8]) -> bool {
        value.len() >= HEADER_LEN && value.starts_with(MAGIC)
    }

    /// Seals `plain` for the place `context`.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let ring = self.ring();
        let SealKey { id, key, .. } = &**ring.last().ok_or(SealError::Random)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| SealError::Random)?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// When the key is not known, or the value was altered or sealed for another context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let damaged = || SealError::Damaged(context.to_owned());
        if !Self::is_sealed(sealed) {
            return Err(damaged());
        }
        let (header, body) = sealed.split_at(HEADER_LEN);
        let (id, nonce) = header[MAGIC.len()..].split_at(ID_LEN);
        let mut ring = self.ring();
        if !ring.iter().any(|key| key.id == id) {
            // Another process may have made it.
            ring = read(&self.path)?;
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring.clone();
        }
        let key = ring.iter().find(|key| key.id == id).ok_or_else(|| SealError::UnknownKey(name(id)))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut body = body.to_vec();
        let opened = key.key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut body);
        let length = opened.map_err(|_| damaged())?.len();
        body.truncate(length);
        if ring.last().is_some_and(|newest| newest.id != id) {
            self.stale_places().insert(context.to_owned());
        }
        Ok(body)
    }
}

fn read(path: &Path) -> Result<Ring, SealError> {
    let text = fs::read_to_string(path).map_err(|source| SealError::File { path: path.to_owned(), source })?;
    let broken = |at: usize| SealError::KeyFile { path: path.to_owned(), line: at + 1 };
    let keys = text.lines().enumerate().map(|(at, line)| SealKey::read(line).map(Arc::new).ok_or_else(|| broken(at)));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(broken(0)) } else { Ok(keys.into()) }
}

fn write(path: &Path, ring: &Ring) -> Result<(), SealError> {
    let text: String = ring.iter().map(|key| format!("{}\n", key.line)).collect();
    files::write(path, text.as_bytes(), 0o600).map_err(|source| SealError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let dir = tempfile::tempdir().expect("a folder");
        let sealer = Sealer::open_or_create(&dir.path().join("seal.key")).expect("a sealer");
        (dir, sealer)
    }

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let (_dir, sealer) = sealer();
        let sealed = sealer.seal("secrets/shop/db", b"hunter2").expect("seal");
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(sealer.open("secrets/shop/db", &sealed).expect("open"), b"hunter2");
        assert!(matches!(sealer.open("secrets/evil/db", &sealed), Err(SealError::Damaged(_))));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let (_dir, sealer) = sealer();
        let sealed = sealer.seal("a", b"value").expect("seal");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            sealer.open("a", &altered).expect_err("altered");
        }
        for end in 0..sealed.len() {
            sealer.open("a", &sealed[..end]).expect_err("cut short");
        }
    }

    #[test]
    fn old_keys_open_and_the_newest_seals() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal.key");
        let old = Sealer::open_or_create(&path).expect("a sealer").seal("a", b"x").expect("seal");
        let mut text = fs::read_to_string(&path).expect("read");
        text.push_str(&format!("000000ff {}\n", BASE64.encode([7; 32])));
        fs::write(&path, text).expect("write");
        let rotated = Sealer::open_or_create(&path).expect("again");
        assert_eq!(rotated.open("a", &old).expect("open"), b"x");
        assert_eq!(rotated.seal("a", b"x").expect("seal")[3..7], [0, 0, 0, 0xff]);
    }

    #[test]
    fn a_rotation_leaves_nothing_unreadable_and_ends_with_one_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal.key");
        let sealer = Sealer::open_or_create(&path).expect("a sealer");
        let other = Sealer::open_or_create(&path).expect("another process");
        let old = sealer.seal("a", b"x").expect("seal");
        let name = sealer.rotate(["a".to_owned()]).expect("a key");
        assert_eq!(sealer.key_names().last(), Some(&name));
        assert!(matches!(sealer.drop_old(), Err(SealError::Stale(1))));
        // After a crash here: what is stale shows when it is opened.
        let restarted = Sealer::open_or_create(&path).expect("a sealer");
        assert_eq!(restarted.stale(), [""; 0]);
        assert_eq!(restarted.open("a", &old).expect("open"), b"x");
        assert_eq!(restarted.stale(), ["a"]);
        let new = restarted.seal("a", b"x").expect("seal");
        assert_eq!(other.open("a", &new).expect("a key that it did not know"), b"x");
        restarted.renewed("a", "00000000");
        assert_eq!(restarted.stale(), ["a"], "not by the newest");
        restarted.renewed("a", &name);
        assert_eq!(restarted.open("a", &new).expect("open"), b"x");
        assert_eq!(restarted.stale(), [""; 0], "sealed by the newest");
        assert_eq!(restarted.drop_old().expect("nothing needs it"), 1);
        let last = Sealer::open_or_create(&path).expect("a sealer");
        assert_eq!(last.key_names(), [name]);
        assert_eq!(last.open("a", &new).expect("open"), b"x");
        assert!(matches!(last.open("a", &old), Err(SealError::UnknownKey(_))));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal.key");
        fs::write(&path, "0000 not-a-key\n").expect("write");
        let error = Sealer::open_or_create(&path).err().expect("a refusal").to_string();
        assert!(error.contains("seal.key:1:"), "{error}");
    }
}
