//! The data plane against the real kernel.
//!
//! Every test gets a machine of its own: a fresh network namespace that plays the host, a second one behind a wire that
//! plays another machine, and one for each pod. Sysctls, rules and connection tracking are per namespace, so the machine
//! the tests run on is never touched, and everything ends with the test's last file descriptor.
//!
//! This target has its own `main`, because a namespace belongs to a thread, and because the helper process is this very
//! program started with other arguments, as it is in production.

mod attach;
mod claim;
mod coexist;
mod deltas;
mod encrypted;
mod ipv6;
mod isolation;
mod machines;
mod names;
mod overlay;
mod overlay_rules;
mod overlay_state;
mod policies;
mod published;
mod services;
mod world;

use std::process::ExitCode;

type Test = (&'static str, fn(&mut world::World));

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("helper") {
        naru_network::helper_main(arguments);
    }
    let all: Vec<Test> = [
        names::TESTS,
        claim::TESTS,
        deltas::TESTS,
        attach::TESTS,
        services::TESTS,
        published::TESTS,
        isolation::TESTS,
        policies::TESTS,
        coexist::TESTS,
        encrypted::TESTS,
        overlay::TESTS,
        overlay_rules::TESTS,
        overlay_state::TESTS,
        ipv6::TESTS,
    ]
    .concat();
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _) in &all {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(why) = world::missing() {
        eprintln!("SKIPPED: all tests of the data plane against the kernel: {why}");
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    let mut ran = 0;
    for (name, test) in all {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        ran += 1;
        if world::World::run(test) {
            println!("test {name} ... ok");
        } else {
            println!("test {name} ... FAILED");
            failed.push(name);
        }
    }
    // In the words of the usual harness, which whoever counts looks for.
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {} passed; {} failed {failed:?}", ran - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}
