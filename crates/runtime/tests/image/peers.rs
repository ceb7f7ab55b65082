//! Images from one store to another: what is checked, who is asked next, what is continued.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use naru_runtime::image::{BlobStream, Copied, Digest, Holder, ImageError, Images, Peer, Progress, Reference, Source};

use crate::rootfs::with_own_mounts;
use crate::support::{Sample, Scratch, archive, gzip, noise, tar};

/// How a peer behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Gives other bytes for what is longer than this.
    Lies(usize),
    /// Gives more bytes of layers than their manifest says.
    Babbles,
    /// Its connection breaks after so many bytes of one blob, every time.
    Breaks(usize),
    /// Does not answer.
    Away,
}

/// Another store, asked directly.
struct Other {
    name: &'static str,
    images: Images,
    reference: Reference,
    manner: Manner,
    given: AtomicU64,
}

impl Peer for Other {
    fn name(&self) -> &str {
        self.name
    }

    fn blob<'a>(&'a self, digest: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<BlobStream>> {
        Box::pin(async move {
            if self.manner == Manner::Away {
                return Err(io::Error::other("nobody there"));
            }
            let found = self.images.open_blob(&self.reference, digest, from).await.map_err(io::Error::other)?;
            let (file, length) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::BufReader::new(file), &mut bytes)?;
            assert_eq!(bytes.len() as u64, length);
            match self.manner {
                Manner::Lies(over) if bytes.len() > over => bytes[over] ^= 1,
                Manner::Babbles if bytes.len() > 4096 => bytes.push(0),
                _ => {}
            }
            let end = match self.manner {
                Manner::Breaks(after) if bytes.len() > after => {
                    bytes.truncate(after);
                    Some(Err(io::Error::other("cut")))
                }
                _ => None,
            };
            self.given.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let pieces: Vec<io::Result<Bytes>> =
                bytes.chunks(4096).map(|piece| Ok(Bytes::copy_from_slice(piece))).chain(end).collect();
            Ok(stream::iter(pieces).boxed())
        })
    }
}

/// A layer that does not compress, and a small one.
fn sample(seed: u64) -> Sample {
    Sample::new(vec![tar(&[("big", &noise(300_000, seed))]), tar(&[("small", b"s")])], gzip)
}

async fn load(images: &Images, sample: &Sample, name: &str) {
    let reader = io::Cursor::new(archive(&sample.oci(name)));
    images.load(Source::Stream(Box::new(reader)), Progress::none()).await.unwrap();
}

async fn holder(name: &'static str, images: &Images, reference: &Reference, manner: Manner) -> (Arc<Other>, Holder) {
    let offer = images.offer(reference).await.unwrap().expect("an offer");
    let given = AtomicU64::new(0);
    let peer = Arc::new(Other { name, images: images.clone(), reference: reference.clone(), manner, given });
    (peer.clone(), Holder { peer, offer })
}

async fn copy(to: &Images, reference: &Reference, holders: &[&Holder]) -> Result<Copied, ImageError> {
    to.copy(reference, holders.iter().map(|holder| (*holder).clone()).collect(), &Progress::none()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_the_same_on_every_node_and_only_what_is_missing_travels() {
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (first, name) = (sample(1), Reference::parse("app:1").unwrap());
    load(&from.images, &first, "app:1").await;
    let (peer, holds) = holder("a", &from.images, &name, Manner::Honest).await;
    let copied = copy(&to.images, &name, &[&holds]).await.unwrap();
    let (there, here) = (from.images.inspect("app:1").await.unwrap(), to.images.inspect("app:1").await.unwrap());
    assert_eq!(
        (&here.id, &here.manifest, &here.tags, &here.digests),
        (&there.id, &there.manifest, &there.tags, &there.digests)
    );
    assert_eq!((copied.image.id, copied.from), (there.id, vec!["a".to_owned()]));
    let rootfs = to.images.rootfs(&here.id).await.unwrap();
    assert_eq!(std::fs::read(rootfs.lower[0].join("small")).unwrap(), b"s");
    let all: u64 = first.packed.iter().map(|layer| layer.len() as u64).sum();
    assert!(peer.given.load(Ordering::Relaxed) > all);

    // The tag moves: the newer image shares the large layer, which stays where it is.
    let newer = Sample::new(vec![first.layers[0].clone(), tar(&[("small", b"new")])], gzip);
    load(&from.images, &newer, "app:1").await;
    let (peer, holds) = holder("a", &from.images, &name, Manner::Honest).await;
    copy(&to.images, &name, &[&holds]).await.unwrap();
    assert_eq!(to.images.inspect("app:1").await.unwrap().id.to_string(), newer.id());
    assert!(peer.given.load(Ordering::Relaxed) < 10_000, "the large layer travelled again");

    // Pinned to the first one, which has no name any more: the tag stays where it is.
    let pin = |digest: &Digest| Reference::parse(&format!("{name}@{digest}")).unwrap();
    let pinned = pin(&there.manifest);
    let Some(third) = Scratch::new().await else { return };
    load(&third.images, &newer, "app:1").await;
    assert!(third.images.resolve(&pinned.to_string()).await.unwrap().is_none());
    let (_, holds) = holder("a", &from.images, &pinned, Manner::Honest).await;
    copy(&third.images, &pinned, &[&holds]).await.unwrap();
    assert_eq!(third.images.inspect(&pinned.to_string()).await.unwrap().id.to_string(), first.id());
    assert_eq!(third.images.inspect("app:1").await.unwrap().id.to_string(), newer.id());

    // Pinned to what the tag means where it comes from: the tag moves here too.
    let pinned = pin(&from.images.inspect("app:1").await.unwrap().manifest);
    let Some(fourth) = Scratch::new().await else { return };
    load(&fourth.images, &first, "app:1").await;
    let (_, holds) = holder("a", &from.images, &pinned, Manner::Honest).await;
    copy(&fourth.images, &pinned, &[&holds]).await.unwrap();
    assert_eq!(fourth.images.inspect("app:1").await.unwrap().id.to_string(), newer.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lies_is_refused_and_the_next_one_asked() {
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (image, name) = (sample(2), Reference::parse("app:1").unwrap());
    load(&from.images, &image, "app:1").await;
    // In a layer, in every document, and by giving more than there is.
    for manner in [Manner::Lies(5000), Manner::Lies(20), Manner::Babbles] {
        let (_, liar) = holder("liar", &from.images, &name, manner).await;
        let error = copy(&to.images, &name, &[&liar]).await.unwrap_err();
        let ImageError::Peers { problem, .. } = &error else { panic!("{error}") };
        assert!(problem.contains("from node liar"), "{problem}");
        assert!(to.images.list().await.unwrap().is_empty());
    }
    let (_, liar) = holder("liar", &from.images, &name, Manner::Lies(5000)).await;
    let (_, good) = holder("good", &from.images, &name, Manner::Honest).await;
    copy(&to.images, &name, &[&liar, &good]).await.unwrap();
    assert_eq!(to.images.inspect("app:1").await.unwrap().id.to_string(), image.id());

    // A pin is kept whatever a peer says that it has.
    let Some(third) = Scratch::new().await else { return };
    let pinned = name.at(&Digest::of(b"something else"));
    let error = copy(&third.images, &pinned, &[&good]).await.unwrap_err();
    assert!(error.to_string().contains("exactly this one"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_one_peer_breaks_off_the_next_one_continues() {
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (image, name) = (sample(3), Reference::parse("app:1").unwrap());
    load(&from.images, &image, "app:1").await;
    let (_, away) = holder("away", &from.images, &name, Manner::Away).await;
    let error = copy(&to.images, &name, &[&away]).await.unwrap_err();
    assert!(error.to_string().contains("node away: nobody there"), "{error}");

    // Alone it is asked again as long as bytes come; with another, what it gave is not fetched twice.
    let (weak, breaks) = holder("weak", &from.images, &name, Manner::Breaks(100_000)).await;
    let Some(alone) = Scratch::new().await else { return };
    copy(&alone.images, &name, &[&breaks]).await.unwrap();
    assert_eq!(alone.images.inspect("app:1").await.unwrap().id.to_string(), image.id());
    weak.given.store(0, Ordering::Relaxed);
    let (strong, whole) = holder("strong", &from.images, &name, Manner::Honest).await;
    copy(&to.images, &name, &[&away, &breaks, &whole]).await.unwrap();
    let sum: u64 = [&weak, &strong].iter().map(|peer| peer.given.load(Ordering::Relaxed)).sum();
    let all: usize = image.packed.iter().chain([&image.config, &image.manifest()]).map(Vec::len).sum();
    assert_eq!(sum, all as u64, "every byte came once");
}

const INSIDE: &str = "NARU_TEST_SMALL_DISK";

/// The same test once more, in a mount namespace where a small disk is mounted; there it does the real work.
#[test]
fn a_full_disk_ends_the_copy_and_leaves_nothing() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(fill(Path::new(&folder)));
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: mounting a small disk needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let test = std::env::current_exe().unwrap();
    with_own_mounts(&format!(
        "mount -t tmpfs -o size=4m tmpfs {path}; {INSIDE}={path} {} --exact peers::a_full_disk_ends_the_copy_and_leaves_nothing --nocapture",
        test.display()
    ));
}

async fn fill(folder: &Path) {
    let Some(from) = Scratch::new().await else { return };
    let name = Reference::parse("big:1").unwrap();
    load(&from.images, &Sample::new(vec![tar(&[("big", &noise(6 << 20, 4))])], gzip), "big:1").await;
    let to = Images::open(folder.join("images")).await.unwrap();
    let (_, holds) = holder("a", &from.images, &name, Manner::Honest).await;
    let error = copy(&to, &name, &[&holds]).await.unwrap_err();
    assert!(matches!(&error, ImageError::DiskFull { .. }), "{error}");
    for left in ["blobs/sha256", "layers", "partial"] {
        assert_eq!(std::fs::read_dir(folder.join("images").join(left)).unwrap().count(), 0, "{left}");
    }
    assert!(to.list().await.unwrap().is_empty());
}
