//! Files in memory.

#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use naru_compose::{ComposeError, Files, Loaded, Request, load};

struct Memory(BTreeMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path).map(String::into_bytes)
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
}

fn files(files: &[(&str, &str)]) -> Memory {
    Memory(files.iter().map(|(path, text)| (Path::new("/shop").join(path), (*text).to_owned())).collect())
}

pub fn request() -> Request {
    Request { current_dir: "/shop".into(), ..Request::default() }
}

pub fn run(given: &[(&str, &str)], change: impl FnOnce(&mut Request)) -> Result<Loaded, ComposeError> {
    let mut request = request();
    change(&mut request);
    load(&request, &files(given))
}

pub fn one(text: &str) -> Loaded {
    run(&[("compose.yaml", text)], |_| {}).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

pub fn error(given: &[(&str, &str)], change: impl FnOnce(&mut Request)) -> String {
    run(given, change).expect_err("a fault").to_string()
}
