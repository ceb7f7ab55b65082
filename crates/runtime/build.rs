//! Links this crate's small program without position independence: a supervisor's private memory is mostly relocated
//! pages, and there is one supervisor a pod.

fn main() {
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
