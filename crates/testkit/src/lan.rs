//! Several hosts on one wire.

use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fault::Fault;
use crate::namespace::Namespace;
use crate::require;

/// A wire with a router on it: a namespace with a bridge, to which hosts are attached (see [`crate::HostOptions::lan`]).
///
/// Clones are the same one; it goes with the last of them, and when the test process ends in whatever way.
#[derive(Debug, Clone)]
pub struct Lan(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    router: Namespace,
    count: AtomicU8,
    janitor: Mutex<Option<(Child, ChildStdin)>>,
}

/// A host's place on a wire.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    lan: Lan,
    number: u8,
}

/// The router's address: every host's default route.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);

impl Lan {
    /// A wire with nobody on it; `None` (said loudly) where the machine lacks what it needs.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Option<Lan> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        if !require::root() || require::missing(&["ip", "sh"]) {
            return None;
        }
        let name = format!("naru-lan-{}-{}", crate::namespace::own_word(), COUNT.fetch_add(1, Ordering::Relaxed));
        let janitor = janitor(&name);
        let router = Namespace::make(&name).expect("a namespace for the wire");
        for command in ["link add br0 type bridge", &format!("address add {ROUTER}/24 dev br0"), "link set br0 up"] {
            router.ip(command).expect("a bridge");
        }
        Some(Lan(Arc::new(Inner { router, count: AtomicU8::new(0), janitor: Mutex::new(Some(janitor)) })))
    }

    /// Makes a host's namespace on the wire.
    pub(crate) fn attach(&self, name: &str) -> Result<(Namespace, Namespace, Port), String> {
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        let port = Port { lan: self.clone(), number };
        let (node, router) = (Namespace::make(name)?, self.0.router.clone());
        node.ip(&format!("link add eth0 type veth peer name {} netns {}", port.name(), router.name()))?;
        router.ip(&format!("link set {} master br0 up", port.name()))?;
        node.ip(&format!("address add {}/24 dev eth0", port.address()))?;
        node.ip("link set eth0 up")?;
        node.ip(&format!("route add default via {ROUTER}"))?;
        Ok((node, router, port))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((mut janitor, wakes)) = self.janitor.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(wakes);
            let _ = janitor.wait();
        }
    }
}

impl Port {
    fn name(&self) -> String {
        format!("port{}", self.number)
    }

    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 7, 10 + self.number)
    }

    /// Loses what its host sends and fits a rule.
    pub fn loses_sent(&self, rule: &str) -> Result<Fault, String> {
        Fault::begin(&self.lan.0.router, &self.name(), rule)
    }

    /// Pulls the cable, or puts it back.
    pub fn set(&self, up: bool) {
        let word = if up { "up" } else { "down" };
        self.lan.0.router.ip(&format!("link set {} {word}", self.name())).expect("the port");
    }
}

/// Removes the namespace when this process has ended or says so.
fn janitor(name: &str) -> (Child, ChildStdin) {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("sh")
        .args(["-c", "cat >/dev/null; ip netns del \"$NAME\""])
        .env("NAME", name)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the janitor");
    let wakes = child.stdin.take().expect("a pipe");
    (child, wakes)
}
