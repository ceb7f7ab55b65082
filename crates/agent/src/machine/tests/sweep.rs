//! Step sweep: at every effect of a pod's whole life fail once, crash before or after it, or run it twice. The pod must
//! still come up, and leave nothing behind.

use super::world::{Fault, World, full, single};
use crate::machine::{Desired, Role};

/// A whole life: up, a crash of one program, a lost supervisor, deletion.
fn live(desired: Desired, fault: Fault) -> World {
    let mut world = World::new(desired);
    world.fault = fault;
    world.settle();
    let up = world.running().len();
    let lasting = world.desired.containers.iter().filter(|wanted| wanted.role != Role::Init).count();
    assert_eq!(up, lasting, "{fault:?}: {:?}", world.log);
    world.exit("web", 1).settle();
    assert!(world.running().contains(&"web"), "{fault:?}: not restarted: {:?}", world.log);
    world.lose_supervisor().settle();
    assert_eq!(world.running().len(), up, "{fault:?}: not replaced: {:?}", world.log);
    world.delete(30).settle();
    assert!(world.is_gone(), "{fault:?}: leaks after {:?}", world.log);
    assert!(world.observed.finalized || matches!(fault, Fault::CrashAfter(_)), "{fault:?}");
    world
}

fn sweep(desired: &Desired) {
    let effects = live(desired.clone(), Fault::None).effects();
    assert!(effects > 10, "only {effects} effects");
    for index in 0..effects {
        for fault in [Fault::Fail(index), Fault::CrashBefore(index), Fault::CrashAfter(index), Fault::Repeat(index)] {
            live(desired.clone(), fault);
        }
    }
}

#[test]
fn a_simple_pod_survives_a_fault_at_every_step() {
    sweep(&single("Always"));
}

#[test]
fn a_pod_with_init_sidecar_and_hooks_survives_a_fault_at_every_step() {
    sweep(&full("Always"));
}

#[test]
fn deletion_in_the_middle_of_every_step_leaves_nothing() {
    let total = {
        let mut world = World::new(full("Always"));
        world.settle();
        world.effects()
    };
    for index in 0..total {
        let mut world = World::new(full("Always"));
        world.fault = Fault::Fail(index);
        // The failure holds the pod up long enough for the deletion to meet it half made.
        world.run(std::time::Duration::ZERO);
        world.delete(5).settle();
        assert!(world.is_gone(), "deleted at effect {index}: {:?}", world.log);
    }
}
