//! Header blocks: names and values, compressed with one context a direction over the whole connection.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// A block that no sensible client sends.
const MOST: usize = 64 << 10;

/// Names in lower case, with their values.
pub(super) type Headers = Vec<(String, String)>;

/// Reads blocks.
pub(super) struct Decoder(Decompress);

/// Writes blocks.
pub(super) struct Encoder {
    compress: Compress,
    primed: bool,
}

fn broken(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder(Decompress::new(true))
    }

    /// Decompresses and reads one block.
    pub fn decode(&mut self, mut block: &[u8]) -> io::Result<Headers> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            plain.reserve(1024);
            let before = (self.0.total_in(), self.0.total_out());
            match self.0.decompress_vec(block, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => break,
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(broken)?;
                }
                Err(error) => return Err(broken(error)),
            }
            let used = usize::try_from(self.0.total_in() - before.0).unwrap_or(usize::MAX);
            block = block.get(used..).unwrap_or_default();
            if plain.len() > MOST {
                return Err(broken("a header block is too large"));
            }
            if block.is_empty() && plain.len() < plain.capacity() {
                break;
            }
            if used == 0 && self.0.total_out() == before.1 && plain.len() < plain.capacity() && before.0 != 0 {
                return Err(broken("a header block is cut off"));
            }
        }
        parse(&plain)
    }
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder { compress: Compress::new(Compression::fast(), true), primed: false }
    }

    /// Writes and compresses one block.
    pub fn encode(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        if !std::mem::replace(&mut self.primed, true) {
            self.compress.set_dictionary(&dictionary()).map_err(broken)?;
        }
        let length = |text: &str| u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
        let mut plain = u32::try_from(headers.len()).unwrap_or_default().to_be_bytes().to_vec();
        for (name, value) in headers {
            plain.extend(length(name));
            plain.extend(name.as_bytes());
            plain.extend(length(value));
            plain.extend(value.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let begin = self.compress.total_in();
        loop {
            block.reserve(256);
            let used = usize::try_from(self.compress.total_in() - begin).unwrap_or(usize::MAX);
            self.compress
                .compress_vec(plain.get(used..).unwrap_or_default(), &mut block, FlushCompress::Sync)
                .map_err(broken)?;
            let used = usize::try_from(self.compress.total_in() - begin).unwrap_or(usize::MAX);
            if used >= plain.len() && block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }
}

fn parse(plain: &[u8]) -> io::Result<Headers> {
    let mut rest = plain;
    let count = number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut rest)?.to_ascii_lowercase();
        headers.push((name, text(&mut rest)?));
    }
    Ok(headers)
}

fn number(rest: &mut &[u8]) -> io::Result<usize> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(|| broken("a header block is cut off"))?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*bytes)).map_err(broken)
}

fn text(rest: &mut &[u8]) -> io::Result<String> {
    let length = number(rest)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or_else(|| broken("a header block is cut off"))?;
    *rest = after;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
