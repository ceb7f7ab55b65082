//! Copying a WebSocket frame by frame: no frame shares a record of TLS with another.
//!
//! There are clients (Python's `kubernetes.stream`) that wait for their socket to become readable before they read each
//! frame. What came in the same record as the frame before lies in their TLS library by then, no longer in the socket,
//! and they wait for ever. A server that wrote frames as they happened would not meet them; this one copies bytes, and
//! what it reads at once may hold several. So it looks at where frames end and at nothing else in them. Refused: copying
//! bytes as they come, which is right by the protocol and hangs.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is read at once, in bytes.
const BUFFER: usize = 32 << 10;
/// The longest head of a frame: two bytes, a length of eight, a mask of four.
const HEAD: usize = 14;

/// Where frames end in a stream of them (RFC 6455, 5.2).
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD],
    /// How much of the head is known.
    known: usize,
    /// What is left of the contents, once the head is known.
    left: Option<u64>,
}

// === impl Frames ===

impl Frames {
    /// How many of `bytes` belong to the present frame. When it ends with them the next one is the present.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.left.is_none() {
            let Some(byte) = bytes.get(taken) else { return taken };
            self.head[self.known] = *byte;
            (self.known, taken) = (self.known + 1, taken + 1);
            self.left = contents(&self.head[..self.known]);
        }
        let left = self.left.unwrap_or_default();
        let rest = bytes.len() - taken;
        if left > rest as u64 {
            self.left = Some(left - rest as u64);
            return bytes.len();
        }
        *self = Frames::default();
        // Not more than there is.
        taken + usize::try_from(left).unwrap_or(rest)
    }
}

/// How long the contents of a frame with this head are; `None` as long as it is not a whole head.
fn contents(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (length, wide) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?)), 2),
        127 => (u64::from_be_bytes(head.get(2..10)?.try_into().ok()?), 8),
        short => (u64::from(short), 0),
    };
    (head.len() >= 2 + wide + mask).then_some(length)
}

/// Copies bytes from a client to a server and frames from there to the client, until both have ended.
///
/// # Errors
/// When either breaks.
pub(super) async fn join<C, S>(client: C, server: S) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    tokio::try_join!(up, copy(from_server, to_client)).map(drop)
}

/// Copies frames until `from` ends, each written and sent off by itself.
///
/// # Errors
/// When either side breaks.
async fn copy<R, W>(mut from: R, mut to: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut frames, mut buffer) = (Frames::default(), vec![0; BUFFER]);
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(frames.take(bytes));
            to.write_all(now).await?;
            to.flush().await?;
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;

    use super::*;

    /// Remembers each write.
    #[derive(Default)]
    struct Records(Vec<Vec<u8>>);

    impl AsyncWrite for Records {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.push(Vec::new());
            Poll::Ready(Ok(()))
        }
    }

    /// A binary frame with so many bytes.
    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..0x1_0000 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, b'x');
        frame
    }

    #[tokio::test]
    async fn frames_that_come_together_go_one_by_one() {
        let frames = [frame(5, false), frame(0, false), frame(200, false), frame(3, true)];
        let mut records = Records::default();
        copy(&frames.concat()[..], &mut records).await.expect("copied");
        let (end, written) = records.0.split_last().expect("an end");
        assert_eq!(written, frames);
        assert!(end.is_empty(), "the end is passed on");
    }

    proptest! {
        /// However frames are cut into reads, none is written together with another, and nothing is lost.
        #[test]
        fn no_write_holds_two_frames(
            lengths in prop::collection::vec(prop_oneof![0usize..4, 120usize..130, 65_530usize..65_540], 1..6),
            masked in any::<bool>(),
            cuts in prop::collection::vec(1usize..40_000, 1..30),
        ) {
            let all: Vec<Vec<u8>> = lengths.into_iter().map(|length| frame(length, masked)).collect();
            let whole = all.concat();
            let mut ends: Vec<usize> = Vec::new();
            all.iter().for_each(|frame| ends.push(ends.last().copied().unwrap_or(0) + frame.len()));
            let (mut frames, mut at, mut cuts) = (Frames::default(), 0, cuts.into_iter().cycle());
            while at < whole.len() {
                let read = (at + cuts.next().unwrap_or(1)).min(whole.len());
                while at < read {
                    let next = at + frames.take(&whole[at..read]);
                    prop_assert!(next > at, "it goes on");
                    prop_assert!(!ends.iter().any(|end| at < *end && *end < next), "{at}..{next} of {ends:?}");
                    at = next;
                }
            }
            prop_assert!(frames.left.is_none() && frames.known == 0, "the last frame ends with the bytes");
        }
    }
}
