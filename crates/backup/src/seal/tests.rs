use std::io::Cursor;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn about() -> About {
    About {
        time: Timestamp::from_second(1_790_000_000).expect("a time"),
        cluster: "1a2b3c4d-5e6f".to_owned(),
        revision: 77,
        objects: 3,
        node: "node-1".to_owned(),
        naru: "0.1.0".to_owned(),
    }
}

fn sealed(contents: &[u8], key: &BackupKey) -> Vec<u8> {
    let mut sealing = Sealing::begin(Vec::new(), about(), key).expect("begin");
    sealing.write_all(contents).expect("write");
    sealing.finish().expect("finish")
}

fn opened(bytes: &[u8], key: &BackupKey) -> Result<Vec<u8>, BackupError> {
    let mut opening = Opening::begin(bytes, key)?;
    let mut contents = Vec::new();
    opening.read_to_end(&mut contents).map_err(BackupError::from_io)?;
    Ok(contents)
}

fn key() -> BackupKey {
    BackupKey::Random([7; 32])
}

#[test]
fn sizes_around_a_chunk_come_back_as_they_were() {
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let contents: Vec<u8> = (0..size).map(|at| at as u8).collect();
        for key in [key(), BackupKey::Unsealed] {
            let bytes = sealed(&contents, &key);
            assert_eq!(opened(&bytes, &key).expect("opens"), contents);
            assert!(is_whole(&mut Cursor::new(&bytes)).expect("a backup"));
        }
    }
}

#[test]
fn what_is_inside_cannot_be_seen_and_whose_it_is_can() {
    let secret = b"-----BEGIN PRIVATE KEY-----".repeat(9);
    let bytes = sealed(&secret, &key());
    assert!(!bytes.windows(11).any(|window| window == b"PRIVATE KEY"));
    let header = Header::peek(&mut &bytes[..]).expect("a header");
    assert_eq!(header.about, about());
    assert!(header.is_sealed());
    assert!(!Header::peek(&mut &sealed(&secret, &BackupKey::Unsealed)[..]).expect("a header").is_sealed());
}

#[test]
fn another_key_a_newer_version_and_another_file_are_told_apart() {
    let mut bytes = sealed(b"x", &key());
    assert!(matches!(opened(&bytes, &BackupKey::Random([8; 32])), Err(BackupError::WrongKey)));
    assert!(matches!(opened(&bytes, &BackupKey::Unsealed), Err(BackupError::KeyNeeded)));
    bytes[12] = 2;
    assert!(matches!(opened(&bytes, &key()), Err(BackupError::Version { found: 2, known: 1 })));
    assert!(matches!(opened(b"", &key()), Err(BackupError::Foreign)));
    assert!(matches!(opened(&[0x50; 4_000], &key()), Err(BackupError::Foreign)));
}

#[test]
fn chunks_are_bound_to_their_place_and_their_backup() {
    let contents = vec![1; 3 * CHUNK];
    let (one, other) = (sealed(&contents, &key()), sealed(&contents, &key()));
    let start = one.len() - 3 * (4 + CHUNK + TAG);
    let chunk = 4 + CHUNK + TAG;
    let swapped =
        [&one[..start], &one[start + chunk..start + 2 * chunk], &one[start..start + chunk], &one[start + 2 * chunk..]]
            .concat();
    let left_out = [&one[..start], &one[start + chunk..]].concat();
    let shortened = one[..start + 2 * chunk].to_vec();
    let foreign = [&one[..start], &other[start..]].concat();
    let longer = [&one[..], b"x"].concat();
    for wrong in [swapped, left_out, shortened, foreign, longer] {
        assert!(matches!(opened(&wrong, &key()), Err(BackupError::Damaged { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_backup_cut_anywhere_is_refused(size in 0usize..2 * CHUNK, cut: prop::sample::Index) {
        let bytes = sealed(&vec![3; size], &key());
        let cut = cut.index(bytes.len());
        prop_assert!(opened(&bytes[..cut], &key()).is_err());
        prop_assert!(!matches!(is_whole(&mut Cursor::new(&bytes[..cut])), Ok(true)));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused(size in 0usize..2 * CHUNK, at: prop::sample::Index, bit in 0u8..8, unsealed: bool) {
        let key = if unsealed { BackupKey::Unsealed } else { key() };
        let mut bytes = sealed(&vec![3; size], &key);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(opened(&bytes, &key).is_err());
    }

    #[test]
    fn whatever_is_read_nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), begins: bool) {
        if begins {
            let whole = sealed(b"x", &key());
            bytes.splice(0..0, whole[..whole.len() / 2].iter().copied());
        }
        prop_assert!(opened(&bytes, &key()).is_err());
    }
}
