//! Asynchronous streams for code that blocks. Only for use within `spawn_blocking`.

use std::io::{self, Read, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

use super::options::{BoxedReader, BoxedWriter};

/// Reads an asynchronous stream.
pub(crate) struct BlockingReader {
    inner: BoxedReader,
    runtime: Handle,
}

impl BlockingReader {
    pub(crate) fn new(inner: BoxedReader) -> BlockingReader {
        BlockingReader { inner, runtime: Handle::current() }
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.read(buffer))
    }
}

/// Writes an asynchronous stream.
pub(crate) struct BlockingWriter {
    inner: BoxedWriter,
    runtime: Handle,
}

impl BlockingWriter {
    pub(crate) fn new(inner: BoxedWriter) -> BlockingWriter {
        BlockingWriter { inner, runtime: Handle::current() }
    }

    /// Sends what is left and ends the stream.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.runtime.block_on(self.inner.shutdown())
    }
}

impl Write for BlockingWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.inner.flush())
    }
}
