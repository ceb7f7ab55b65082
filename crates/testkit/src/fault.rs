//! A wire that loses what it should carry.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::namespace::Namespace;

/// Packets are lost for as long as this is kept.
#[derive(Debug)]
pub struct Fault {
    namespace: Namespace,
    table: String,
}

impl Fault {
    /// Drops what comes in by `device` and fits `rule`, in nftables' words; everything when it is empty.
    pub(crate) fn begin(namespace: &Namespace, device: &str, rule: &str) -> Result<Fault, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let table = format!("fault{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let text = format!(
            "table netdev {table} {{\n chain lost {{\n  type filter hook ingress device {device} priority -10;\n  {rule} drop\n }}\n}}\n"
        );
        nft(namespace, &["-f", "-"], &text)?;
        Ok(Fault { namespace: namespace.clone(), table })
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Err(error) = nft(&self.namespace, &["delete", "table", "netdev", &self.table], "") {
            eprintln!("the fault {} does not end: {error}", self.table);
        }
    }
}

fn nft(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<(), String> {
    use std::io::Write;
    let mut command: Command = namespace.command("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| format!("nft: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("nft: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("nft {arguments:?} {input}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
