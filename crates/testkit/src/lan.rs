//! Several hosts on one wire.

use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::Capture;
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
    /// The third byte of its addresses.
    network: u8,
    /// Its router's address on another wire, which stands for all hosts of this one, and the place there.
    outside: Option<Port>,
    count: AtomicU8,
    janitor: Mutex<Option<(Child, ChildStdin)>>,
}

/// A host's place on a wire.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    lan: Lan,
    number: u8,
}

/// The router's address: every host's default route, unless the wire is [behind another](Lan::behind).
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);
/// Lets out who calls, under the router's own address and ports of its choice, and nobody in.
const TRANSLATOR: &str = "table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade random; }; }; \
    table ip filter { chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; \
    iifname br0 accept; }; }";

impl Lan {
    /// A wire with nobody on it; `None` (said loudly) where the machine lacks what it needs.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Option<Lan> {
        Self::make(ROUTER.octets()[2], None)
    }

    /// A wire of private addresses, whose router is a host on `outer` and translates: hosts here call hosts there under the
    /// router's address, and cannot be called.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn behind(outer: &Lan) -> Option<Lan> {
        if require::missing(&["nft"]) {
            return None;
        }
        let lan = Self::make(outer.0.network + 1, Some(outer))?;
        lan.0.router.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("a router");
        lan.translate();
        Some(lan)
    }

    /// Begins to translate, with nothing known of who called before.
    fn translate(&self) {
        let mut nft = self.0.router.command("nft");
        let made = nft.arg(format!("flush ruleset; {TRANSLATOR}")).status();
        assert!(made.is_ok_and(|status| status.success()), "a translator");
    }

    /// Makes the translating router forget everything, as one does that is turned off and on.
    ///
    /// # Panics
    /// When there is none, or it cannot.
    pub fn forget_flows(&self) {
        assert!(self.0.outside.is_some(), "nobody translates here");
        // Another port for each flow from now on: answers to the old ones find nobody.
        let mut nft = self.0.router.command("nft");
        nft.arg("flush ruleset");
        assert!(nft.status().is_ok_and(|status| status.success()), "without a translator");
        let eth0 = &self.0.router;
        // An interface that goes down takes its masqueraded flows with it.
        for command in ["link set eth0 down", "link set eth0 up"] {
            eth0.ip(command).expect("the router's wire");
        }
        eth0.ip(&format!("route replace default via {ROUTER}")).expect("its way out");
        self.translate();
    }

    /// The address under which hosts of a wire behind another are seen there.
    ///
    /// # Panics
    /// When nobody translates here.
    pub fn seen_as(&self) -> Ipv4Addr {
        self.0.outside.as_ref().expect("a wire behind another").address()
    }

    /// Everything that passes this wire from now on.
    ///
    /// # Panics
    /// When it cannot be seen.
    #[track_caller]
    pub fn capture(&self) -> Capture {
        Capture::start(&self.0.router).expect("a capture")
    }

    fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.0.network, 1)
    }

    fn make(network: u8, outer: Option<&Lan>) -> Option<Lan> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        if !require::root() || require::missing(&["ip", "sh"]) {
            return None;
        }
        let name = format!("naru-lan-{}-{}", crate::namespace::own_word(), COUNT.fetch_add(1, Ordering::Relaxed));
        let janitor = janitor(&name);
        let (router, outside) = match outer {
            None => (Namespace::make(&name).expect("a namespace for the wire"), None),
            Some(outer) => {
                let (router, _, port) = outer.attach(&name).expect("a place on the other wire");
                (router, Some(port))
            }
        };
        let gateway = Ipv4Addr::new(198, 18, network, 1);
        for command in ["link add br0 type bridge", &format!("address add {gateway}/24 dev br0"), "link set br0 up"] {
            router.ip(command).expect("a bridge");
        }
        let (count, janitor) = (AtomicU8::new(0), Mutex::new(Some(janitor)));
        Some(Lan(Arc::new(Inner { router, network, outside, count, janitor })))
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
        node.ip(&format!("route add default via {}", self.gateway()))?;
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
        Ipv4Addr::new(198, 18, self.lan.0.network, 10 + self.number)
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
