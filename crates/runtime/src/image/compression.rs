//! Recognising and undoing the compression of archives and layers.
//!
//! By their first bytes, never by media type or file name: both are often wrong, and the digests catch what is left.

use std::io::{self, BufReader, Read};

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What the first bytes of a stream say.
    pub(crate) fn of(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame, as chunked zstd layers begin with.
            [b, 0x2a, 0x4d, 0x18, ..] if b & 0xf0 == 0x50 => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// The OCI media type of a layer packed so.
    pub(crate) fn layer_media_type(self) -> &'static str {
        match self {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// The bytes of `reader` without compression, and which one it had.
pub(crate) fn decoder<'a>(mut reader: impl Read + Send + 'a) -> io::Result<(Box<dyn Read + Send + 'a>, Compression)> {
    let mut start = Vec::with_capacity(4);
    (&mut reader).take(4).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    let whole = io::Cursor::new(start).chain(reader);
    let decoder: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(128 << 10, whole))?)
        }
    };
    Ok((decoder, compression))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_packing_is_recognised_and_undone() {
        let text = b"some bytes that are long enough".repeat(50);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text[..700]).unwrap();
        let mut two_members = gzip.finish().unwrap();
        let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        second.write_all(&text[700..]).unwrap();
        two_members.extend(second.finish().unwrap());
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for (packed, expected) in
            [(text.clone(), Compression::None), (two_members, Compression::Gzip), (zstd, Compression::Zstd)]
        {
            let (mut reader, compression) = decoder(&packed[..]).unwrap();
            let mut out = Vec::new();
            reader.read_to_end(&mut out).unwrap();
            assert_eq!((out == text, compression), (true, expected));
        }
    }

    #[test]
    fn short_streams_are_plain() {
        assert_eq!(decoder(&b"ab"[..]).unwrap().1, Compression::None);
    }
}
