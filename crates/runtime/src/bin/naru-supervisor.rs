//! A supervisor and nothing else: lets this crate's tests and benchmarks run without the whole program.

fn main() {
    naru_runtime::supervisor_main(std::env::args_os().skip(1))
}
