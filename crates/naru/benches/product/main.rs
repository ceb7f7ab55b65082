//! What a user waits for and pays for, measured on the real program with real containers.
//!
//! Every benchmark runs in a small machine of its own (network namespaces, folders and a server, removed by a janitor
//! whatever happens) and touches nothing else. Where the program's peer is installed it runs in the same run on the same
//! machine; otherwise its figure is quoted with the words "measured before". No benchmark fails because of a figure:
//! they print, people judge. Timed tests were refused because they fail on busy machines and pass on fast ones.
//!
//! `cargo bench -p naru --bench product [-- NAME…]`; `NARU_BENCH_BINARY` names another build of the program. What takes
//! a time inside a container says it itself: its first instruction prints the clock that the measuring side reads too.

mod api;
mod cold_start;
mod drain;
mod endpoint_change;
mod host;
mod http;
mod images;
mod join;
mod kubernetes;
mod machines;
mod memory;
mod peer;
mod pod_start;
mod power_off;
mod recovery;
mod report;
mod scale;
mod size;
mod stamps;
mod swarm;
mod update;
mod watch;

/// A benchmark by name.
struct Benchmark {
    name: &'static str,
    run: fn() -> Option<()>,
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark { name: "pod-start", run: pod_start::run },
    Benchmark { name: "scale", run: scale::run },
    Benchmark { name: "recovery", run: recovery::run },
    Benchmark { name: "cold-start", run: cold_start::run },
    Benchmark { name: "memory", run: memory::run },
    Benchmark { name: "update", run: update::run },
    Benchmark { name: "api", run: api::run },
    Benchmark { name: "size", run: size::run },
    Benchmark { name: "images", run: images::run },
    Benchmark { name: "join", run: join::run },
    Benchmark { name: "endpoint-change", run: endpoint_change::run },
    Benchmark { name: "power-off", run: power_off::run },
    Benchmark { name: "drain", run: drain::run },
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let names = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect::<Vec<_>>();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!("no benchmark is called {unknown:?}; there are: {}", names.join(" "));
        std::process::exit(2);
    }
    let mut failed = false;
    for benchmark in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|name| name == benchmark.name) {
            println!("\n{}", benchmark.name);
            // One that fails must not keep the others from running; its host is removed while it unwinds.
            failed |= std::panic::catch_unwind(benchmark.run).is_err();
        }
    }
    std::process::exit(i32::from(failed));
}
