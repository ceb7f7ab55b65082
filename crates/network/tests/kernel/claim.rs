//! One server a network namespace.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use naru_network::{ClaimError, NetworkClaim};

use crate::Test;
use crate::world::{Netns, World};

pub const TESTS: &[Test] = &[
    ("claim::a_second_server_is_told_who_the_first_one_is", a_second_server_is_told_who_the_first_one_is),
    ("claim::what_a_dying_server_left_is_waited_for", what_a_dying_server_left_is_waited_for),
    ("claim::a_stranger_s_socket_is_named_as_such", a_stranger_s_socket_is_named_as_such),
];

fn a_second_server_is_told_who_the_first_one_is(_: &mut World) {
    let (machine, other) = (Netns::new(), Netns::new());
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let held = machine.run(|| NetworkClaim::take(first.path())).unwrap();
    let error = machine.run(|| NetworkClaim::take(second.path())).unwrap_err();
    let ClaimError::Held { pid, state_dir } = &error else { panic!("{error:?}") };
    assert_eq!((*pid, state_dir.as_path()), (std::process::id() as i32, first.path()));
    assert!(error.to_string().contains(&first.path().display().to_string()), "{error}");
    let elsewhere = other.run(|| NetworkClaim::take(second.path())).unwrap();
    drop(held);
    let again = machine.run(|| NetworkClaim::take(second.path())).unwrap();
    drop((again, elsewhere));
}

fn what_a_dying_server_left_is_waited_for(_: &mut World) {
    let machine = Netns::new();
    let dir = tempfile::tempdir().unwrap();
    // Descriptors that a process inherited in the instant its parent died: nobody answers, and soon they are closed.
    let inherited =
        machine.run(|| UnixListener::bind_addr(&SocketAddr::from_abstract_name("naru-net").unwrap())).unwrap();
    let closing = std::thread::spawn(move || {
        // A contender has asked.
        let asked = inherited.accept().unwrap();
        drop((asked, inherited));
    });
    let claim = machine.run(|| NetworkClaim::take(dir.path())).unwrap();
    closing.join().unwrap();
    // The same folder waits for its own predecessor to end.
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(claim);
    });
    machine.run(|| NetworkClaim::take(dir.path())).unwrap();
    ending.join().unwrap();
}

fn a_stranger_s_socket_is_named_as_such(_: &mut World) {
    let machine = Netns::new();
    let dir = tempfile::tempdir().unwrap();
    let _squatter =
        machine.run(|| UnixListener::bind_addr(&SocketAddr::from_abstract_name("naru-net").unwrap())).unwrap();
    let error = machine.run(|| NetworkClaim::take(dir.path())).unwrap_err();
    assert!(matches!(error, ClaimError::Silent { pid, .. } if pid == std::process::id() as i32), "{error:?}");
}
