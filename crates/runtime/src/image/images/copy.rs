//! Images to and from stores on other machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::transfer::{PARALLEL, name_without_digest};
use super::{Images, blocking};
use crate::image::archive::Prepared;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::manifest::{DOCUMENT_LIMIT, Descriptor, Document, Manifest};
use crate::image::peer::{BlobStream, Copied, Holder, Offer};
use crate::image::platform::Platform;
use crate::image::progress::{Progress, Step};
use crate::image::record::ImageId;
use crate::image::reference::Reference;
use crate::image::store::{FileGuard, NameGuard, Piece, TOLD, parse_config};

/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// Rounds through all holders in which not a byte came.
const FRUITLESS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

impl Images {
    /// What this store can give of the image that `reference` means to it, to a store on another machine.
    ///
    /// A digest is offered only where the document that has it is here: the other side checks it.
    pub async fn offer(&self, reference: &Reference) -> Result<Option<Offer>, ImageError> {
        let (store, reference) = (self.store.clone(), reference.clone());
        blocking("looking up an image", move || {
            let index = store.index()?;
            let Some(meaning) = index.resolve(&reference.to_string())? else { return Ok(None) };
            let Some(listed) = index.images.get(&meaning.id) else { return Ok(None) };
            let document = reference.digest().unwrap_or(&listed.manifest).clone();
            if !store.layout.blob(&document).exists() {
                return Ok(None);
            }
            let digests = listed.digests.iter().cloned().collect();
            let current = index.names.get(&name_without_digest(&reference)) == Some(&meaning.id);
            Ok(Some(Offer { document, digests, current, stored_at: listed.stored_at.clone() }))
        })
        .await
    }

    /// A blob of the image that `reference` means, opened at byte `from`, and how many bytes follow. `None` when this
    /// store has no such image, or the blob is none of its documents and layers.
    pub async fn open_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        from: u64,
    ) -> Result<Option<(std::fs::File, u64)>, ImageError> {
        let (store, reference, digest) = (self.store.clone(), reference.clone(), digest.clone());
        blocking("opening a blob", move || {
            let index = store.index()?;
            let Some(meaning) = index.resolve(&reference.to_string())? else { return Ok(None) };
            let mut alone = (*index).clone();
            alone.images.retain(|id, _| *id == meaning.id);
            let path = store.layout.blob(&digest);
            if !store.needed(&alone)?.0.contains(std::ffi::OsStr::new(digest.hex())) || !path.exists() {
                return Ok(None);
            }
            let mut file = store.open_blob(&digest)?;
            let size = file.metadata().map_err(ImageError::io("read", &path))?.len();
            file.seek(SeekFrom::Start(from.min(size))).map_err(ImageError::io("read", &path))?;
            Ok(Some((file, size.saturating_sub(from))))
        })
        .await
    }

    /// A number that differs whenever the list of images does.
    pub fn stamp(&self) -> u64 {
        self.store.stamp()
    }

    /// Takes an image from other stores: its documents and the layers that are missing here, every one checked by its
    /// digest. Holders are asked in turn; where one breaks off, the next continues.
    ///
    /// Of holders that mean different images by a tag, those of the one that came last into a store are asked.
    ///
    /// # Errors
    /// [`ImageError::Peers`] when no holder gave it; what arrived is kept for the next attempt, unless the disk was full.
    pub async fn copy(
        &self,
        reference: &Reference,
        holders: Vec<Holder>,
        progress: &Progress,
    ) -> Result<Copied, ImageError> {
        let newest = holders.iter().max_by_key(|holder| &holder.offer.stored_at);
        let document = reference.digest().or(newest.map(|holder| &holder.offer.document)).cloned();
        let nobody =
            |problem: &str| ImageError::Peers { reference: Box::new(reference.clone()), problem: problem.to_owned() };
        let document = document.ok_or_else(|| nobody("no node has it"))?;
        let holders: Vec<Holder> = holders.into_iter().filter(|holder| holder.offer.document == document).collect();
        if holders.is_empty() {
            return Err(nobody("no node has exactly this one"));
        }
        let copy = Copy {
            images: self,
            reference,
            holders,
            progress,
            liars: Mutex::default(),
            givers: Mutex::default(),
            gate: self.gate().await?,
        };
        let store = self.store.clone();
        let before = blocking("looking at the image store", move || store.present()).await?;
        let result = copy.run(document).await;
        let Copy { gate, givers, .. } = copy;
        self.after_adding(gate).await;
        if result.as_ref().is_err_and(ImageError::is_disk_full) {
            // Kept parts are for peers that went away; a full disk needs the room.
            self.take_back(before).await;
        }
        Ok(Copied { image: result?, from: givers.into_inner().into_iter().collect() })
    }
}

/// One image on its way.
struct Copy<'a> {
    images: &'a Images,
    reference: &'a Reference,
    holders: Vec<Holder>,
    progress: &'a Progress,
    /// Holders that gave something else than they were asked for.
    liars: Mutex<BTreeSet<usize>>,
    givers: Mutex<BTreeSet<String>>,
    gate: Arc<FileGuard>,
}

/// What became of one attempt.
enum Attempt {
    Whole,
    /// It broke off; `true` when bytes came.
    Broken(String, bool),
}

impl Copy<'_> {
    async fn run(&self, document: Digest) -> Result<crate::image::ImageRecord, ImageError> {
        let (digest, manifest, documents) = self.documents(&document).await?;
        let layers: BTreeMap<&Digest, &Descriptor> =
            manifest.layers.iter().map(|layer| (&layer.digest, layer)).collect();
        for digest in layers.keys() {
            self.progress.tell(digest.short(), Step::Waiting);
        }
        let first = rand::random::<u32>() as usize;
        let fetches = layers.values().enumerate().map(|(at, layer)| self.layer(layer, first.wrapping_add(at)));
        stream::iter(fetches).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;

        let id = ImageId(manifest.config.digest.clone());
        let mut prepared = Prepared { id, manifest: digest.clone(), names: Vec::new(), digests: Vec::new() };
        let tag = self.reference.tag().map(|_| name_without_digest(self.reference));
        // Whoever asks for a digest does not say what its tag means now: only where it means nothing here, or the same
        // wherever the image comes from, it is taken along.
        let moves = match (&tag, self.reference.digest()) {
            (Some(tag), Some(_)) => {
                self.holders.iter().all(|holder| holder.offer.current) || self.images.resolve(tag).await?.is_none()
            }
            _ => true,
        };
        prepared.names.extend(tag.filter(|_| moves));
        let own = [&document, &digest].map(|digest| self.reference.at(digest).to_string());
        let known: BTreeSet<&String> = self.holders.iter().flat_map(|holder| &holder.offer.digests).collect();
        prepared.digests = own.into_iter().filter(|name| known.contains(name)).collect();
        let (store, held) = (self.images.store.clone(), self.gate.clone());
        blocking("keeping an image's documents", move || {
            let _held = held;
            documents.iter().try_for_each(|bytes| store.keep(store.stage_bytes("a document", bytes)?).map(drop))
        })
        .await?;
        let mut records = self.images.finish_adding(vec![prepared], &self.gate, self.progress).await?;
        records.pop().ok_or(ImageError::Interrupted { what: "copying an image" })
    }

    /// The manifest for this machine, and every document on the way to it, the configuration last.
    async fn documents(&self, top: &Digest) -> Result<(Digest, Manifest, Vec<Vec<u8>>), ImageError> {
        let wanted = Platform::host();
        let platform = |available: Vec<String>| ImageError::Platform {
            name: self.reference.to_string(),
            wanted: wanted.to_string(),
            available,
        };
        let (mut digest, mut documents) = (top.clone(), Vec::new());
        for _ in 0..3 {
            let bytes = self.document("the manifest", &digest).await?;
            let parsed = Document::parse(&digest, &bytes)?;
            documents.push(bytes);
            match parsed {
                Document::Index(index) => {
                    digest = index.choose(&wanted).ok_or_else(|| platform(index.offers()))?.digest.clone();
                }
                Document::Manifest(manifest) => {
                    let bytes = self.document("the configuration", &manifest.config.digest).await?;
                    let config = parse_config(&manifest.config.digest, &bytes, &manifest)?;
                    let (os, architecture, variant) = (config.os, config.architecture, config.variant);
                    let own = Platform { os, architecture, variant };
                    if wanted.choose([&own]).is_none() {
                        return Err(platform(vec![own.to_string()]));
                    }
                    documents.push(bytes);
                    return Ok((digest, manifest, documents));
                }
            }
        }
        let problem = "its indexes are nested too deep".into();
        Err(ImageError::Document { document: "index", digest: top.clone(), problem })
    }

    /// Holders that have not lied, beginning with the one at `first`.
    fn honest(&self, first: usize) -> impl Iterator<Item = (usize, &Holder)> {
        let count = self.holders.len();
        let order = (0..count).map(move |step| (first % count + step) % count);
        order.filter(|at| !self.liars.lock().contains(at)).map(|at| (at, &self.holders[at]))
    }

    fn failure(&self, problems: &[String]) -> ImageError {
        let problem = if problems.is_empty() { "no node is left to ask".to_owned() } else { problems.join("; ") };
        ImageError::Peers { reference: Box::new(self.reference.clone()), problem }
    }

    fn lied(&self, at: usize, holder: &Holder, error: &ImageError) -> String {
        tracing::warn!(node = holder.peer.name(), %error, "a node gave other bytes than it was asked for");
        self.liars.lock().insert(at);
        error.to_string()
    }

    async fn document(&self, what: &str, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let mut problems = Vec::new();
        for (at, holder) in self.honest(0) {
            let name = holder.peer.name();
            match read_document(holder, digest).await {
                Err(error) => problems.push(format!("node {name}: {error}")),
                Ok(bytes) => {
                    let (actual, length) = (Digest::of(&bytes), bytes.len() as u64);
                    if actual == *digest {
                        self.givers.lock().insert(name.to_owned());
                        return Ok(bytes);
                    }
                    let (what, expected) = (format!("{what} from node {name}"), digest.clone());
                    let error = ImageError::DigestMismatch { what, expected, actual, bytes: length };
                    problems.push(self.lied(at, holder, &error));
                }
            }
        }
        Err(self.failure(&problems))
    }

    /// Brings a layer into the store, unless it is there.
    async fn layer(&self, blob: &Descriptor, first: usize) -> Result<(), ImageError> {
        let (store, item) = (&self.images.store, blob.digest.short());
        // The writing thread holds it too: it may outlive a copy that is given up.
        let lock = Arc::new(store.locks.name(&format!("blob-{}", blob.digest.hex())).await?);
        if store.has_blob(&blob.digest, blob.size) {
            self.progress.tell(item, Step::Exists);
            return Ok(());
        }
        let (mut fruitless, mut problems) = (0, Vec::new());
        loop {
            let round: Vec<(usize, &Holder)> = self.honest(first).collect();
            if round.is_empty() || fruitless == FRUITLESS {
                return Err(self.failure(&problems));
            }
            let mut came = false;
            problems.clear();
            for (at, holder) in round {
                match self.attempt(holder, &lock, blob).await {
                    Ok(Attempt::Whole) => {
                        self.givers.lock().insert(holder.peer.name().to_owned());
                        return Ok(());
                    }
                    Ok(Attempt::Broken(problem, some)) => {
                        came |= some;
                        problems.push(format!("node {}: {problem}", holder.peer.name()));
                    }
                    Err(error @ (ImageError::DigestMismatch { .. } | ImageError::TooLarge { .. })) => {
                        problems.push(self.lied(at, holder, &error));
                    }
                    Err(error) => return Err(error),
                }
            }
            fruitless = if came { 0 } else { fruitless + 1 };
            let (attempt, reason) = (fruitless + 2, problems.join("; "));
            self.progress.tell(item, Step::Retrying { attempt, reason });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks one holder; where only a part from before is wrong, once more from the beginning.
    async fn attempt(&self, holder: &Holder, lock: &Arc<NameGuard>, blob: &Descriptor) -> Result<Attempt, ImageError> {
        let mut continued = false;
        match self.receive(holder, lock, blob, &mut continued).await {
            Err(ImageError::DigestMismatch { .. }) if continued => {
                self.receive(holder, lock, blob, &mut continued).await
            }
            other => other,
        }
    }

    async fn receive(
        &self,
        holder: &Holder,
        lock: &Arc<NameGuard>,
        blob: &Descriptor,
        continued: &mut bool,
    ) -> Result<Attempt, ImageError> {
        let (to_writer, pieces) = mpsc::channel(16);
        let (tell_start, start) = oneshot::channel();
        let origin = format!("layer {} from node {}", blob.digest, holder.peer.name());
        let (store, held, wanted) = (self.images.store.clone(), (self.gate.clone(), lock.clone()), blob.clone());
        let writer = tokio::task::spawn_blocking(move || {
            let _held = held;
            store.arrive(&wanted, &origin, tell_start, pieces)
        });
        let passed = match start.await {
            Ok(start) => {
                *continued = start > 0;
                Some((start, self.pass(holder, blob, start, &to_writer).await))
            }
            Err(_) => None,
        };
        drop(to_writer);
        // The writer's failure explains the sender's.
        writer.await.map_err(|_| ImageError::Interrupted { what: "writing a layer" })??;
        match passed {
            Some((start, (done, Some(problem)))) => Ok(Attempt::Broken(problem, done > start)),
            _ => {
                self.progress.tell(blob.digest.short(), Step::Downloading { done: blob.size, total: Some(blob.size) });
                Ok(Attempt::Whole)
            }
        }
    }

    /// Passes the blob's bytes from `start` on to the writer: how far it came, and why no further.
    async fn pass(
        &self,
        holder: &Holder,
        blob: &Descriptor,
        start: u64,
        writer: &mpsc::Sender<Piece>,
    ) -> (u64, Option<String>) {
        let (mut done, mut told) = (start, start);
        if done < blob.size {
            let mut bytes = match open(holder, &blob.digest, start).await {
                Ok(bytes) => bytes,
                Err(error) => return (done, Some(error.to_string())),
            };
            // One byte more than announced is a lie that the writer tells.
            while done <= blob.size {
                match next(&mut bytes).await {
                    Err(error) => return (done, Some(error.to_string())),
                    Ok(None) if done < blob.size => return (done, Some("it broke off".into())),
                    Ok(None) => break,
                    Ok(Some(piece)) => {
                        done += piece.len() as u64;
                        if writer.send(Piece::Bytes(piece)).await.is_err() {
                            return (done, None);
                        }
                        if done >= told + TOLD {
                            told = done;
                            let step = Step::Downloading { done, total: Some(blob.size) };
                            self.progress.tell(blob.digest.short(), step);
                        }
                    }
                }
            }
        }
        let _ = writer.send(Piece::End).await;
        (done, None)
    }
}

async fn open(holder: &Holder, digest: &Digest, from: u64) -> std::io::Result<BlobStream> {
    tokio::time::timeout(SILENCE, holder.peer.blob(digest, from)).await.unwrap_or_else(|_| Err(silent()))
}

async fn next(bytes: &mut BlobStream) -> std::io::Result<Option<bytes::Bytes>> {
    tokio::time::timeout(SILENCE, bytes.try_next()).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("silent for {} s", SILENCE.as_secs()))
}

async fn read_document(holder: &Holder, digest: &Digest) -> std::io::Result<Vec<u8>> {
    let mut stream = open(holder, digest, 0).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut stream).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(std::io::Error::other(format!("the document is larger than {DOCUMENT_LIMIT} bytes")));
        }
    }
    Ok(bytes)
}
