//! Programs run by tests: to their end with a deadline, or beside the test with their output read live.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{DEADLINE, eventually};

/// A program that hangs is ended after so long: longer than anything the program itself waits for.
const HANG: Duration = Duration::from_secs(150);

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was run, for messages.
    pub command: String,
    /// The exit code; 128 and the signal when one ended it.
    pub code: i32,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Output {
    /// The same, which must have ended with 0.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// The same, which must have ended with `code`.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self}");
        self
    }

    /// The same, which must have failed and said every one of `texts` on standard error.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn refuses(self, texts: &[&str]) -> Self {
        assert_ne!(self.code, 0, "must be refused: {self}");
        for text in texts {
            assert!(self.stderr.contains(text), "the refusal must say {text:?}: {self}");
        }
        self
    }

    /// The same, which must have said every one of `texts`, on either output.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text) || self.stderr.contains(text), "must say {text:?}: {self}");
        }
        self
    }

    /// The same, which must have said none of `texts`.
    ///
    /// # Panics
    /// When it did.
    #[track_caller]
    pub fn hides(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "must not say {text:?}: {self}");
        }
        self
    }

    /// Standard output as one JSON value.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Standard output as one JSON value a line.
    ///
    /// # Panics
    /// When a line is none.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"));
        self.stdout.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
    }

    /// Standard output without the line end.
    pub fn text(&self) -> &str {
        self.stdout.trim_end()
    }

    /// The lines of standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "`{command}`\n  code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Panics
/// When it cannot be started, or hangs.
#[track_caller]
pub(crate) fn run(command: Command, input: &[u8]) -> Output {
    let mut running = Running::spawn(command);
    running.write(input);
    running.close_input();
    running.wait_within(HANG)
}

/// A program that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    outputs: [Stream; 2],
}

#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                into.lock().expect("the output").extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("the output")).into_owned()
    }
}

impl Running {
    /// Starts a program with pipes.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .skip_while(|word| word == "nsenter" || word.starts_with("--net=") || word == "--")
            .collect();
        let words = words.join(" ");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{words}`: {error}"));
        let outputs =
            [Stream::read(child.stdout.take().expect("a pipe")), Stream::read(child.stderr.take().expect("a pipe"))];
        Self { command: words, child, outputs }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard output until now.
    pub fn stdout(&self) -> String {
        self.outputs[0].text()
    }

    /// Standard error until now.
    pub fn stderr(&self) -> String {
        self.outputs[1].text()
    }

    /// Waits until either output holds `text`.
    ///
    /// # Panics
    /// When it ends before, or the deadline passes.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        let what = format!("`{}` shows {text:?}", self.command);
        eventually(&what, || {
            let ended = self.child.try_wait().ok().flatten();
            let (out, err) = (self.stdout(), self.stderr());
            match out.contains(text) || err.contains(text) {
                true => Ok(()),
                false => {
                    let seen = format!("ended: {ended:?}\n--- stdout\n{out}\n--- stderr\n{err}");
                    assert!(ended.is_none() || self.is_reading(), "ended without {text:?}: {seen}");
                    Err(seen)
                }
            }
        });
    }

    /// Whether some of its output may still be on its way.
    fn is_reading(&self) -> bool {
        self.outputs.iter().any(|stream| stream.reader.as_ref().is_some_and(|reader| !reader.is_finished()))
    }

    /// Writes to its standard input; a program that ended does not care.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = self.child.stdin.as_mut() {
            let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        }
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin.take();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends what Ctrl-C sends.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it hangs.
    #[track_caller]
    pub fn wait(self) -> Output {
        self.wait_within(DEADLINE)
    }

    #[track_caller]
    fn wait_within(mut self, deadline: Duration) -> Output {
        let end = Instant::now() + deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            if Instant::now() > end {
                let (out, err) = (self.stdout(), self.stderr());
                panic!("`{}` does not end\n--- stdout\n{out}\n--- stderr\n{err}", self.command);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // What it started in the background may hold the pipes: its own output is complete soon after its end.
        let patience = Instant::now() + Duration::from_secs(2);
        while self.is_reading() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        Output { command: self.command.clone(), code: code(status), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
