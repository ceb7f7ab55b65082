//! The benchmarks' container: says when its first instruction ran, then waits or serves. Standard library only, so that
//! it is one static file.
//!
//! `worker` waits for TERM. `worker --check` asks the one that serves whether it does. `worker --serve` answers every request on port 8080, and on TERM behaves as a good server
//! does: takes what is already queued, then listens no longer, ends what it has begun, and exits. Other arguments only
//! make one process distinguishable from another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn pipe(ends: *mut i32) -> i32;
    fn poll(files: *mut PollFd, count: u64, timeout: i32) -> i32;
    fn write(file: i32, bytes: *const u8, count: usize) -> isize;
}

const READABLE: i16 = 1;
static WAKE: AtomicI32 = AtomicI32::new(-1);
static BUSY: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_term(_: i32) {
    unsafe { write(WAKE.load(Ordering::Relaxed), b"x".as_ptr(), 1) };
}

fn main() {
    if std::env::args().any(|argument| argument == "--check") {
        std::process::exit(i32::from(TcpStream::connect(("127.0.0.1", 8080)).is_err()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let _ = std::io::stdout().write_all(format!("first {now}\n").as_bytes());
    let mut ends = [0_i32; 2];
    unsafe {
        pipe(ends.as_mut_ptr());
        WAKE.store(ends[1], Ordering::Relaxed);
        signal(15, on_term as extern "C" fn(i32) as usize);
    }
    match std::env::args().any(|argument| argument == "--serve") {
        true => serve(ends[0]),
        false => wait(&mut [PollFd { fd: ends[0], events: READABLE, revents: 0 }]),
    }
}

fn wait(files: &mut [PollFd]) {
    while unsafe { poll(files.as_mut_ptr(), files.len() as u64, -1) } < 0 {}
}

fn serve(wake: i32) {
    let listener = TcpListener::bind(("0.0.0.0", 8080)).expect("port 8080");
    listener.set_nonblocking(true).expect("a listener that does not block");
    loop {
        let file = |fd| PollFd { fd, events: READABLE, revents: 0 };
        let mut files = [file(wake), file(listener.as_raw_fd())];
        wait(&mut files);
        while let Ok((stream, _)) = listener.accept() {
            BUSY.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let _ = stream.set_nonblocking(false).and_then(|()| answer(stream));
                BUSY.fetch_sub(1, Ordering::SeqCst);
            });
        }
        if files[0].revents != 0 {
            break;
        }
    }
    drop(listener);
    while BUSY.load(Ordering::SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new((&mut stream).take(8192)).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = std::env::var("VERSION").unwrap_or_default();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
