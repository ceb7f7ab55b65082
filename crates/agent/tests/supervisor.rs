//! The supervisor as a program of its own, for the tests of this crate.

fn main() {
    naru_runtime::supervisor_main(std::env::args_os().skip(1))
}
