//! Between code that waits and code that blocks: sealing runs on a thread of its own, the network on the executor.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// So many pieces may be on their way: it bounds the memory, whichever side is faster.
const PIECES: usize = 16;
/// Small writes are gathered to so many bytes.
const PIECE: usize = 64 << 10;

/// The writing end, for a thread.
pub struct PipeWriter {
    into: mpsc::Sender<io::Result<Bytes>>,
    gathered: Vec<u8>,
}

/// The reading end, for a thread; on the executor take [`PipeReader::next`].
pub struct PipeReader {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

/// A pipe with bounded room.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (into, from) = mpsc::channel(PIECES);
    (PipeWriter { into, gathered: Vec::new() }, PipeReader { from, piece: Bytes::new() })
}

// === impl PipeWriter ===

impl PipeWriter {
    /// Hands a piece on; for the executor.
    ///
    /// # Errors
    /// When the reader has gone.
    pub async fn send(&mut self, piece: io::Result<Bytes>) -> io::Result<()> {
        self.into.send(piece).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Tells the reader that no more follows because of this.
    pub fn fail(self, error: io::Error) {
        let _ = self.into.blocking_send(Err(error));
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.gathered));
        self.into.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

// === impl PipeReader ===

impl PipeReader {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// What the writer failed with.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.from.recv().await.transpose()
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let taken = self.piece.split_to(buffer.len().min(self.piece.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
