//! Housekeeping of this repository.
//!
//! `cargo run -p xtask -- check` holds the dependency rules of `deps.toml` and the crate edges of `xtask/edges.toml`;
//! `cargo run -p xtask -- facts <file>` makes the table of schema facts in `crates/api/facts` from a description of the
//! Kubernetes API; `cargo run -p xtask -- numbers <folder>` makes that of protobuf numbers in `crates/protobuf`;
//! `cargo run -p xtask -- conformance` makes the page of conformance behaviours in `docs`, whose table `check` holds against
//! the tests. Everything here runs at development time only.

mod conformance;
mod deps;
mod edges;
mod facts;
mod metadata;
mod numbers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: xtask check | conformance | deps | edges | facts <kubernetes facts.json> | numbers <folder of \
                     Go modules>";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root()?;
    match words.as_slice() {
        ["check"] => report(
            [deps::problems(&root)?, edges::problems(&root)?, conformance::problems(&root)?].concat(),
            "dependencies and crate edges are as reviewed, conformance behaviours have their tests",
        ),
        ["conformance"] => conformance::generate(&root),
        ["deps"] => report(deps::problems(&root)?, "dependencies are as reviewed"),
        ["edges"] => report(edges::problems(&root)?, "crate edges are as reviewed"),
        ["facts", file] => facts::generate(file.as_ref(), &root.join("crates/api/facts")),
        ["numbers", folder] => numbers::generate(folder.as_ref(), &root.join("crates/protobuf/src/numbers.txt")),
        _ => bail!("{USAGE}"),
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf> {
    // Checkouts may share what cargo built: where this one is, is known when it runs.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    Ok(here.parent().context("the folder of xtask has no parent")?.to_path_buf())
}

fn report(problems: Vec<String>, fine: &str) -> Result<()> {
    if problems.is_empty() {
        println!("{fine}");
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}
