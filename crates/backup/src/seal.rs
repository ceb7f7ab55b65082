//! The sealed part of a backup: chunks, each encrypted and in its place.
//!
//! AES-256-GCM; the key is for this backup alone (its salt is random), so the nonce is the chunk's number, with a byte
//! that marks the last one, and the header's digest is authenticated with each (the construction is known as STREAM).
//! A chunk that was altered, left out, repeated, moved, or taken from another backup does not open, and a backup that
//! ends before its last chunk is told from a whole one. A chunk: its length with the highest bit set on the last one (4
//! bytes, little endian), then the ciphertext and its tag.

use std::io::{self, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::header::DIGEST;
use crate::{About, BackupError, BackupKey, Header, KeyError};

/// Plain bytes of a chunk.
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
const LAST: u32 = 1 << 31;

/// A backup being written: what is written into it is sealed.
pub struct Sealing<W: Write> {
    out: W,
    key: LessSafeKey,
    digest: [u8; DIGEST],
    number: u64,
    plain: Vec<u8>,
}

/// A backup being read and checked: what is read from it is what was sealed.
pub struct Opening<R: Read> {
    from: R,
    header: Header,
    key: LessSafeKey,
    digest: [u8; DIGEST],
    number: u64,
    plain: Vec<u8>,
    at: usize,
    offset: u64,
    ended: bool,
}

// === impl Sealing ===

impl<W: Write> Sealing<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// When it cannot be written, or the system has no random bytes.
    pub fn begin(mut out: W, about: About, key: &BackupKey) -> io::Result<Sealing<W>> {
        let (seal, bytes) = key.derivation().map_err(io::Error::other)?;
        let (header, digest) = Header { about, seal }.encode();
        out.write_all(&header)?;
        let key = cipher(&bytes).ok_or_else(|| io::Error::other(KeyError::Random))?;
        Ok(Sealing { out, key, digest, number: 0, plain: Vec::with_capacity(CHUNK + TAG) })
    }

    /// Ends it; only then it is a backup.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.chunk(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn chunk(&mut self, last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, last);
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::from(self.digest), &mut self.plain);
        sealed.map_err(|_| io::Error::other("a chunk cannot be sealed"))?;
        let length = self.plain.len() as u32 | if last { LAST } else { 0 };
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.plain)?;
        self.number += 1;
        self.plain.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is written when more follows, so that the last one is known to be it.
        if self.plain.len() == CHUNK {
            self.chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Opening ===

impl<R: Read> Opening<R> {
    /// Begins to read a backup.
    ///
    /// # Errors
    /// When it is none, or cannot be opened with this key.
    pub fn begin(mut from: R, key: &BackupKey) -> Result<Opening<R>, BackupError> {
        let (header, digest, offset) = Header::read(&mut from)?;
        let bytes = key.open(&header.seal)?;
        let key = cipher(&bytes).ok_or(BackupError::WrongKey)?;
        Ok(Opening { from, header, key, digest, number: 0, plain: Vec::new(), at: 0, offset, ended: false })
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes of the backup were read.
    pub fn position(&self) -> u64 {
        self.offset
    }

    /// Reads the next chunk.
    fn chunk(&mut self) -> Result<(), BackupError> {
        let offset = self.offset;
        let damaged = |what| BackupError::Damaged { offset, what };
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = u32::from_le_bytes(length);
        let (last, size) = (length & LAST != 0, (length & !LAST) as usize);
        if !(TAG..=CHUNK + TAG).contains(&size) {
            return Err(damaged("no chunk begins here"));
        }
        let mut sealed = std::mem::take(&mut self.plain);
        sealed.resize(size, 0);
        self.fill(&mut sealed)?;
        let opened = self.key.open_in_place(nonce(self.number, last), Aad::from(self.digest), &mut sealed);
        let length = opened.map_err(|_| damaged("a chunk was altered, or is not in its place"))?.len();
        sealed.truncate(length);
        (self.plain, self.at) = (sealed, 0);
        self.number += 1;
        self.ended = last;
        if last {
            let more = self.from.read(&mut [0]).map_err(BackupError::from_io)?;
            if more != 0 {
                return Err(BackupError::Damaged { offset: self.offset, what: "there is something behind its end" });
            }
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        self.from.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Damaged { offset: self.offset, what: "it is cut off here" },
            _ => BackupError::from_io(error),
        })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() && !self.ended && !buffer.is_empty() {
            self.chunk().map_err(BackupError::into_io)?;
        }
        let taken = buffer.len().min(self.plain.len() - self.at);
        buffer[..taken].copy_from_slice(&self.plain[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// Whether a backup reaches to its end, without opening it: chunk for chunk by their lengths. That it was not altered
/// says only its key.
///
/// # Errors
/// When it is none, or cannot be read.
pub fn is_whole<R: Read + io::Seek>(from: &mut R) -> Result<bool, BackupError> {
    let (_, _, mut offset) = Header::read(from)?;
    let end = from.seek(io::SeekFrom::End(0)).map_err(BackupError::Read)?;
    loop {
        from.seek(io::SeekFrom::Start(offset)).map_err(BackupError::Read)?;
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.map_err(BackupError::Read)?,
        }
        let length = u32::from_le_bytes(length);
        offset += 4 + u64::from(length & !LAST);
        if offset > end || length & LAST != 0 {
            return Ok(offset == end);
        }
    }
}

fn cipher(bytes: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[NONCE_LEN - 1] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
