//! Reading tar archives made by others.
//!
//! The `tar` crate writes our archives but does not read them: it splits extended headers at line feeds, although
//! their values are counted, not delimited. A file capability that contains the byte 10 would be lost, and a size
//! after it ignored, so that file contents would be read as headers. This reader knows what layers contain: ustar,
//! GNU long names, PAX records and base-256 numbers; anything else is refused by name.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// Names, links and extended headers above this are no real ones.
const METADATA_LIMIT: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Folder,
    Fifo,
}

/// One entry's header; its contents are read from the [`TarReader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Length of the contents.
    pub size: u64,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The path for messages.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// What extended headers said about the next entry.
#[derive(Clone, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar archive, read forward only. `Read` gives the contents of the current entry.
pub(crate) struct TarReader<R> {
    inner: R,
    /// Contents of the current entry still to be read.
    remaining: u64,
    /// Filling after the contents.
    padding: u64,
    ended: bool,
    global: Extended,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> TarReader<R> {
        TarReader { inner, remaining: 0, padding: 0, ended: false, global: Extended::default() }
    }

    pub(crate) fn inner(&self) -> &R {
        &self.inner
    }

    /// The next entry, or none at the end mark. An archive that stops without one is truncated.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extended = self.global.clone();
        while !self.ended {
            self.skip_contents()?;
            let Some(header) = self.header()? else { break };
            let size = number(&header[124..136])?;
            match header[156] {
                b'x' | b'X' => extended.read(&self.metadata(size)?)?,
                b'g' => {
                    let mut global = std::mem::take(&mut self.global);
                    global.read(&self.metadata(size)?)?;
                    extended.merge(&global);
                    self.global = global;
                }
                b'L' => extended.path = Some(until_nul(&self.metadata(size)?).to_vec()),
                b'K' => extended.link = Some(until_nul(&self.metadata(size)?).to_vec()),
                other => {
                    let entry = entry(&header, other, size, extended)?;
                    let has_contents = entry.kind == Kind::File;
                    // Some writers give links and folders the size of what they name; no contents follow.
                    let size = if has_contents { entry.size } else { 0 };
                    self.begin(size);
                    return Ok(Some(Entry { size, ..entry }));
                }
            }
        }
        Ok(None)
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// Reads the rest of the stream, entries or not, so that a digest over it is complete. At most `limit` bytes.
    pub(crate) fn drain_all(&mut self, limit: u64) -> io::Result<u64> {
        io::copy(&mut (&mut self.inner).take(limit), &mut io::sink())
    }

    fn begin(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_contents(&mut self) -> io::Result<()> {
        let rest = self.remaining + self.padding;
        (self.remaining, self.padding) = (0, 0);
        if io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())? < rest {
            return Err(truncated());
        }
        Ok(())
    }

    /// The next header block with a right checksum; none at the end mark.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        self.inner.read_exact(&mut block).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => truncated(),
            _ => e,
        })?;
        if block.iter().all(|b| *b == 0) {
            self.ended = true;
            return Ok(None);
        }
        let stored = number(&block[148..156]).ok();
        let sum: u64 =
            block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
        if stored != Some(sum) {
            return Err(malformed("a header's checksum is wrong: it is damaged or not a tar archive"));
        }
        Ok(Some(block))
    }

    fn metadata(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > METADATA_LIMIT {
            return Err(malformed("an extended header is larger than 1 MiB"));
        }
        self.begin(size);
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data)?;
        Ok(data)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(truncated());
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

impl Extended {
    /// Takes PAX records: `<length of the record> <key>=<value>\n`.
    fn read(&mut self, mut data: &[u8]) -> io::Result<()> {
        while data.first().is_some_and(|b| *b != 0) {
            let bad = || malformed("an extended header's record is malformed");
            let space = data.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length = decimal(&data[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            data = &data[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let whole = |what| decimal(value).ok_or_else(|| malformed(what));
        let id = |what| whole(what).and_then(|n| u32::try_from(n).map_err(|_| malformed(what)));
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(whole("an extended header's size is no number")?),
            b"uid" => self.uid = Some(id("an extended header's uid is no user id")?),
            b"gid" => self.gid = Some(id("an extended header's gid is no group id")?),
            b"mtime" => {
                self.mtime = Some(time(value).ok_or_else(|| malformed("an extended header's mtime is no time"))?)
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(malformed("it has sparse entries, which are not supported: make it without --sparse"));
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &Extended) {
        let other = other.clone();
        self.path = other.path.or(self.path.take());
        self.link = other.link.or(self.link.take());
        self.size = other.size.or(self.size);
        self.uid = other.uid.or(self.uid);
        self.gid = other.gid.or(self.gid);
        self.mtime = other.mtime.or(self.mtime);
        self.xattrs.extend(other.xattrs);
    }
}

fn entry(header: &[u8; BLOCK], flag: u8, size: u64, extended: Extended) -> io::Result<Entry> {
    let mut path = extended.path.unwrap_or_else(|| name(header));
    let link = extended.link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
    let kind = match flag {
        // Old archives mark folders only by a slash at the end.
        0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Folder,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Folder,
        b'6' => Kind::Fifo,
        b'S' => return Err(malformed("it has sparse entries, which are not supported: make it without --sparse")),
        other => return Err(malformed(&format!("it has an entry of the unknown type {:?}", char::from(other)))),
    };
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    let id = |field: &[u8]| u32::try_from(number(field)?).map_err(|_| malformed("a user or group id is too large"));
    let device = |field: &[u8]| if until_nul(field).is_empty() { Ok(0) } else { id(field) };
    Ok(Entry {
        path,
        link,
        kind,
        mode: (number(&header[100..108])? & 0o7777) as u32,
        uid: extended.uid.map_or_else(|| id(&header[108..116]), Ok)?,
        gid: extended.gid.map_or_else(|| id(&header[116..124]), Ok)?,
        size: extended.size.unwrap_or(size),
        mtime: match extended.mtime {
            Some(time) => time,
            None => (i64::try_from(number(&header[136..148])?).unwrap_or(i64::MAX), 0),
        },
        device: (device(&header[329..337])?, device(&header[337..345])?),
        xattrs: extended.xattrs,
    })
}

/// The header's own name, with the prefix that POSIX archives may have.
fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// A header's number: octal text, or base 256 when the first bit is set.
fn number(field: &[u8]) -> io::Result<u64> {
    let bad = || malformed("a header's number is malformed");
    if field[0] & 0x80 != 0 {
        if field[0] & 0x40 != 0 {
            return Ok(0); // negative: times before 1970
        }
        let mut value = u64::from(field[0] & 0x3f);
        for byte in &field[1..] {
            value = value.checked_mul(256).ok_or_else(bad)? + u64::from(*byte);
        }
        return Ok(value);
    }
    let digits = until_nul(field).trim_ascii();
    digits.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).map(|v| v + u64::from(byte - b'0')).ok_or_else(bad),
        _ => Err(bad()),
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[-]seconds[.fraction]`
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(if whole.starts_with('-') && nanos > 0 { (seconds - 1, 1_000_000_000 - nanos) } else { (seconds, nanos) })
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle: it is truncated")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, size: usize) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size as u64);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        header
    }

    fn archive(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        builder.append_data(&mut header(b'0', 5), "bin/x", &b"hello"[..]).unwrap();
        builder.append_data(&mut header(b'0', 3), format!("{}/y", "long/".repeat(60)), &b"end"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn read_all(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut reader = TarReader::new(bytes);
        let mut out = Vec::new();
        while let Some(entry) = reader.next()? {
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents)?;
            out.push((entry, contents));
        }
        Ok(out)
    }

    #[test]
    fn values_with_line_feeds_do_not_derail_the_reader() {
        let capability = b"\x01\0\0\x02\n\n=\0";
        let entries = read_all(&archive(&[
            ("SCHILY.xattr.security.capability", capability),
            ("mtime", b"1700000001.5"),
            ("uid", b"3000000"),
        ]))
        .unwrap();
        let (first, contents) = &entries[0];
        assert_eq!(first.xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
        assert_eq!(
            (first.uid, first.gid, first.mode, first.mtime),
            (3_000_000, 8, 0o4755, (1_700_000_001, 500_000_000))
        );
        assert_eq!(contents, b"hello");
        assert_eq!(
            (entries[1].0.path.len(), entries[1].1.as_slice(), entries[1].0.xattrs.len()),
            (302, &b"end"[..], 0)
        );
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = archive(&[("comment", b"x")]);
        let whole = read_all(&bytes).unwrap().len();
        // The end mark is two blocks; one is enough, as other readers accept.
        for length in 0..bytes.len() - 1024 {
            let error =
                read_all(&bytes[..length]).expect_err(&format!("{length} of {} bytes were accepted", bytes.len()));
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        }
        assert_eq!(whole, 2);
    }

    #[test]
    fn damage_and_unknown_types_are_named() {
        let mut bytes = archive(&[]);
        bytes[3] ^= 1;
        assert!(read_all(&bytes).unwrap_err().to_string().contains("checksum"));
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header(b'V', 0), "label", &b""[..]).unwrap();
        assert!(read_all(&builder.into_inner().unwrap()).unwrap_err().to_string().contains("'V'"));
    }

    #[test]
    fn links_with_a_size_have_no_contents() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = header(b'1', 0);
        link.set_path("b").unwrap();
        link.set_link_name("a").unwrap();
        link.set_size(99);
        link.set_cksum();
        builder.append(&link, &b""[..]).unwrap();
        builder.append_data(&mut header(b'5', 0), "d/", &b""[..]).unwrap();
        let entries = read_all(&builder.into_inner().unwrap()).unwrap();
        let seen: Vec<_> = entries.iter().map(|(e, _)| (e.kind, e.name(), e.link.as_slice())).collect();
        assert_eq!(seen, [(Kind::HardLink, "b".to_owned(), &b"a"[..]), (Kind::Folder, "d".to_owned(), &b""[..])]);
    }

    #[test]
    fn times_before_1970_and_large_numbers() {
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]).unwrap(), (2 << 32) + 1);
        assert!(number(b"12x4567\0").is_err());
    }
}
