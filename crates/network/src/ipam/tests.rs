use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn pod(n: usize) -> PodUid {
    PodUid::from(format!("uid-{n}"))
}

fn subnet(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

#[test]
fn an_address_survives_reopening_and_is_released_by_uid() {
    let dir = tempfile::tempdir().unwrap();
    let ipam = Ipam::open(dir.path(), subnet("10.42.0.0/24")).unwrap();
    let first = ipam.allocate(&pod(1)).unwrap();
    assert_eq!(first, Ipv4Addr::new(10, 42, 0, 2), "the first address is the node's own");
    assert_eq!(ipam.allocate(&pod(1)).unwrap(), first);
    let second = ipam.allocate(&pod(2)).unwrap();
    drop(ipam);
    let ipam = Ipam::open(dir.path(), subnet("10.42.0.0/24")).unwrap();
    assert_eq!(ipam.get(&pod(1)), Some(first));
    assert_eq!(ipam.release(&pod(1)).unwrap(), Some(first));
    assert_eq!(ipam.release(&pod(1)).unwrap(), None);
    assert_eq!(ipam.allocations(), vec![(second, pod(2))]);
    assert_ne!(ipam.allocate(&pod(3)).unwrap(), first, "a released address rests before it is reused");
}

#[test]
fn exhaustion_names_the_counts() {
    let dir = tempfile::tempdir().unwrap();
    let ipam = Ipam::open(dir.path(), subnet("10.42.0.0/29")).unwrap();
    for n in 0..5 {
        ipam.allocate(&pod(n)).unwrap();
    }
    let error = ipam.allocate(&pod(9)).unwrap_err();
    assert!(matches!(error, IpamError::Exhausted { used: 5, .. }), "{error}");
    assert!(error.to_string().contains("10.42.0.0/29"));
    ipam.release(&pod(3)).unwrap();
    assert_eq!(ipam.allocate(&pod(9)).unwrap(), Ipv4Addr::new(10, 42, 0, 5));
}

#[test]
fn a_torn_write_is_no_allocation() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".10.42.0.7"), "uid-1").unwrap();
    std::fs::write(dir.path().join("10.42.0.8"), "").unwrap();
    let ipam = Ipam::open(dir.path(), subnet("10.42.0.0/24")).unwrap();
    assert!(ipam.allocations().is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_exact_address_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let ipam = Ipam::open(dir.path(), subnet("10.42.0.0/24")).unwrap();
    let wanted = Ipv4Addr::new(10, 42, 0, 77);
    ipam.allocate_exact(&pod(1), wanted).unwrap();
    ipam.allocate_exact(&pod(1), wanted).unwrap();
    assert!(matches!(ipam.allocate_exact(&pod(2), wanted), Err(IpamError::Taken { holder, .. }) if holder == pod(1)));
    for outside in ["10.42.0.0", "10.42.0.1", "10.42.0.255", "10.43.0.9"] {
        let result = ipam.allocate_exact(&pod(2), outside.parse().unwrap());
        assert!(matches!(result, Err(IpamError::Outside { .. })), "{outside}");
    }
}

proptest! {
    #[test]
    fn no_two_pods_share_an_address(steps in prop::collection::vec((0usize..12, any::<bool>()), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let mut ipam = Ipam::open(dir.path(), subnet("10.9.0.0/28")).unwrap();
        for (index, (n, take)) in steps.into_iter().enumerate() {
            if take { ipam.allocate(&pod(n)).unwrap(); } else { ipam.release(&pod(n)).unwrap(); }
            if index % 7 == 0 {
                let before = ipam.allocations();
                ipam = Ipam::open(dir.path(), subnet("10.9.0.0/28")).unwrap();
                prop_assert_eq!(&before, &ipam.allocations());
            }
            let all = ipam.allocations();
            let addresses: BTreeSet<_> = all.iter().map(|(address, _)| *address).collect();
            let pods: BTreeSet<_> = all.iter().map(|(_, pod)| pod.clone()).collect();
            prop_assert_eq!(addresses.len(), all.len());
            prop_assert_eq!(pods.len(), all.len());
        }
    }
}
