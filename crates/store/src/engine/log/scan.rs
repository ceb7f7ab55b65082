//! Reading the log's files, and telling a torn tail from damage.
//!
//! A frame is everything between two syncs, and the next one is only written when the sync has returned. So behind a
//! frame that a power cut tore there is no valid frame of this file; where one is found behind a bad one, the bad one
//! had been synced, and acknowledged, and was damaged later.

use std::path::PathBuf;

use crate::OpenError;
use crate::disk::{Disk, File};
use crate::engine::log::format::{BadHeader, FRAME, FileKind, FrameHead, HEADER, Header, VERSION, frame_checksum};

/// A file being read from its start.
pub(crate) struct Scan {
    file: Box<dyn File>,
    pub path: PathBuf,
    pub header: Header,
    pub len: u64,
    /// Where the next frame starts.
    pub at: u64,
    frame: Vec<u8>,
}

/// What is at the place where a frame could start.
pub(crate) enum Next<'a> {
    Frame(FrameHead, &'a [u8]),
    /// No whole frame is here, and none behind: the file's end, or a torn write.
    End,
}

impl Scan {
    /// Opens a file and reads its header. The inner result is the header's.
    pub fn open(disk: &dyn Disk, name: &str, kind: FileKind) -> Result<Result<Scan, BadHeader>, OpenError> {
        let path = disk.path(name);
        let io = |doing| {
            let path = path.clone();
            move |source| OpenError::Io { doing, path, source }
        };
        let file = disk.open(name).map_err(io("open"))?;
        let len = file.len().map_err(io("measure"))?;
        let mut bytes = [0; HEADER];
        let read = file.read_at(&mut bytes, 0).map_err(io("read"))?;
        match Header::decode(kind, &bytes[..read]) {
            Err(bad) => Ok(Err(bad)),
            Ok(header) => Ok(Ok(Scan { file, path, header, len, at: HEADER as u64, frame: Vec::new() })),
        }
    }

    /// Reads the next frame. `sequence` is what was reached; frames of before it, in the rest of a file that was another
    /// segment once, are of no interest.
    ///
    /// # Errors
    /// When the frame here is bad but a later one is good.
    pub fn next(&mut self, sequence: u64) -> Result<Next<'_>, OpenError> {
        let start = self.at;
        match self.valid_frame(start)? {
            Some(head) => {
                self.at += head.len() as u64;
                Ok(Next::Frame(head, &self.frame[FRAME..FRAME + head.body]))
            }
            None => match self.find_frame(start + 8, sequence)? {
                None => Ok(Next::End),
                Some(later) => Err(self.damaged(
                    start,
                    format!("no valid record is here, but one follows at byte {later}, so this one was written safely"),
                )),
            },
        }
    }

    /// Reads `len` bytes of a value that a frame of this file was found to have.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), OpenError> {
        match self.file.read_at(buffer, at) {
            Ok(read) if read == buffer.len() => Ok(()),
            Ok(_) => Err(self.damaged(at, "the file has become shorter".into())),
            Err(source) => Err(OpenError::Io { doing: "read", path: self.path.clone(), source }),
        }
    }

    /// How many bytes of a record that is not whole lie at `at`, where the next one after `sequence` would begin; 0 when
    /// nothing was begun there. What a reused file held before is told by its lower sequence.
    pub fn torn(&self, at: u64, sequence: u64) -> Result<u64, OpenError> {
        let mut fixed = [0; FRAME];
        let left = self.len.saturating_sub(at);
        if left < FRAME as u64 {
            let mut rest = vec![0; left as usize];
            self.read(&mut rest, at)?;
            return Ok(if rest.iter().any(|b| *b != 0) { left } else { 0 });
        }
        self.read(&mut fixed, at)?;
        let whole = |head: FrameHead| left.min(head.len() as u64);
        Ok(match FrameHead::decode(&fixed) {
            Some(head) if head.sequence > sequence => whole(head),
            Some(_) => 0,
            // Its first bytes are lost or wrong; the place of the sequence still tells whose it was.
            None if FrameHead::follows(&fixed, sequence) => FRAME as u64,
            None => 0,
        })
    }

    pub fn damaged(&self, offset: u64, what: String) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset, what, fallback: String::new() }
    }

    pub fn into_file(self) -> Box<dyn File> {
        self.file
    }

    /// Reads the frame at `at` into `self.frame`, if a valid one is there.
    fn valid_frame(&mut self, at: u64) -> Result<Option<FrameHead>, OpenError> {
        let mut fixed = [0; FRAME];
        if at + FRAME as u64 > self.len {
            return Ok(None);
        }
        self.read(&mut fixed, at)?;
        let Some(head) = FrameHead::decode(&fixed) else { return Ok(None) };
        if at + head.len() as u64 > self.len {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(head.len(), 0);
        self.read(&mut frame, at)?;
        let valid = frame_checksum(&self.header.salt, &frame[8..]) == head.checksum;
        self.frame = frame;
        Ok(valid.then_some(head))
    }

    /// The first valid frame at or behind `from` that goes beyond `sequence`.
    fn find_frame(&mut self, from: u64, sequence: u64) -> Result<Option<u64>, OpenError> {
        const WINDOW: usize = 1 << 16;
        let mut window = vec![0; WINDOW + FRAME];
        let mut at = from;
        while at + FRAME as u64 <= self.len {
            let have = ((self.len - at) as usize).min(window.len());
            let bytes = &mut window[..have];
            self.read(bytes, at)?;
            for step in (0..WINDOW.min(have + 1 - FRAME)).step_by(8) {
                let mut fixed = [0; FRAME];
                fixed.copy_from_slice(&window[step..step + FRAME]);
                let beyond = FrameHead::decode(&fixed).is_some_and(|head| head.sequence > sequence);
                if beyond && self.valid_frame(at + step as u64)?.is_some() {
                    return Ok(Some(at + step as u64));
                }
            }
            at += WINDOW as u64;
        }
        Ok(None)
    }
}

/// The error for a bad header of a file that must be good.
pub(crate) fn bad_header(path: PathBuf, bad: BadHeader) -> OpenError {
    match bad {
        BadHeader::Version(found) if found > VERSION => OpenError::Version { file: path, found, known: VERSION },
        BadHeader::Version(_) => OpenError::Damaged {
            file: path,
            offset: 8,
            what: "the format version is zero".into(),
            fallback: String::new(),
        },
        BadHeader::Other(what) => {
            OpenError::Damaged { file: path, offset: 0, what: what.into(), fallback: String::new() }
        }
    }
}
