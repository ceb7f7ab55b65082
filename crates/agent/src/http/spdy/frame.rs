//! Frames on the wire.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of one frame that are read; clients send at most 64 KiB of data at once.
const MOST: usize = 1 << 20;
pub(super) const FIN: u8 = 1;
const VERSION: u16 = 3;

/// A frame. Header blocks are still compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    SynReply {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    Reset {
        id: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    Headers {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    /// Settings, windows and whatever else needs no answer.
    Other,
}

impl Frame {
    /// The next frame; `None` at the stream's end.
    pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Frame>> {
        let mut head = [0; 8];
        match from.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes is too large")));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        let body = Bytes::from(body);
        let fin = flags & FIN != 0;
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if first & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { id: first, fin, data: body }));
        }
        let kind = first & 0xffff;
        let id = body.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff);
        let block = |from: usize| body.slice(from.min(length)..);
        Ok(Some(match kind {
            1 => Frame::SynStream { id, fin, block: block(10) },
            2 => Frame::SynReply { id, fin, block: block(4) },
            3 => Frame::Reset { id },
            6 => Frame::Ping { id: body.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes)) },
            7 => Frame::GoAway,
            8 => Frame::Headers { id, fin, block: block(4) },
            _ => Frame::Other,
        }))
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let flag = |fin: &bool| if *fin { FIN } else { 0 };
        match self {
            Frame::Data { id, fin, data } => {
                let mut bytes = id.to_be_bytes().to_vec();
                push_length(&mut bytes, flag(fin), data.len());
                bytes.extend_from_slice(data);
                bytes
            }
            Frame::SynStream { id, fin, block } => {
                let mut body = id.to_be_bytes().to_vec();
                body.extend([0; 6]);
                body.extend_from_slice(block);
                control(1, flag(fin), &body)
            }
            Frame::SynReply { id, fin, block } => control(2, flag(fin), &[&id.to_be_bytes(), &block[..]].concat()),
            // 5 is CANCEL.
            Frame::Reset { id } => control(3, 0, &[id.to_be_bytes(), 5u32.to_be_bytes()].concat()),
            Frame::Ping { id } => control(6, 0, &id.to_be_bytes()),
            Frame::GoAway => control(7, 0, &[0; 8]),
            Frame::Headers { id, fin, block } => control(8, flag(fin), &[&id.to_be_bytes(), &block[..]].concat()),
            Frame::Other => Vec::new(),
        }
    }
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (0x8000 | VERSION).to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    push_length(&mut bytes, flags, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn push_length(bytes: &mut Vec<u8>, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend([flags, length[1], length[2], length[3]]);
}
