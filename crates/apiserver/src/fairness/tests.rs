//! Whose turn it is, without a server.

use std::collections::HashMap;
use std::time::Duration;

use naru_api::flow;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::config::{self, LevelObject, SchemaObject};
use super::seats::{Entered, Queuing, Seats, Ticket, Wanted};
use super::{Fairness, Flow};
use crate::authorization::Attributes;
use crate::user::{MASTERS, User};

const MILLISECOND: Duration = Duration::from_millis(1);

fn level(name: &str, shares: u64, lendable: u64) -> Wanted {
    let queuing = Some(Queuing { queues: 16, hand: 4, length: 50 });
    Wanted { name: name.to_owned(), shares, lendable, borrowing: None, queuing, exempt: false }
}

fn seats(total: u32, levels: &[Wanted]) -> (Seats, Vec<u32>) {
    let mut seats = Seats::new(total);
    let (numbers, granted) = seats.configure(levels);
    assert_eq!(granted, vec![]);
    (seats, numbers.into_iter().map(|number| number.expect("limited")).collect())
}

/// Tickets of those that run, by the number they waited under.
#[derive(Default)]
struct Room {
    running: Vec<(u64, Ticket)>,
    waiting: Vec<u64>,
    asked: u64,
}

impl Room {
    /// A request comes; `true`: it runs.
    fn enter(&mut self, seats: &mut Seats, level: u32, hash: u64) -> bool {
        match seats.enter(level, hash, 1) {
            Entered::Turn(ticket) => {
                self.asked += 1;
                self.running.push((u64::MAX - self.asked, ticket));
                true
            }
            Entered::Waits(id, granted) => {
                self.waiting.push(id);
                self.grant(granted);
                !self.waiting.contains(&id)
            }
            Entered::Full { .. } | Entered::Gone => false,
        }
    }

    fn grant(&mut self, granted: Vec<(u64, Ticket)>) {
        for (id, ticket) in granted {
            self.waiting.retain(|waiting| *waiting != id);
            self.running.push((id, ticket));
        }
    }

    /// The oldest ends.
    fn end_one(&mut self, seats: &mut Seats) -> Vec<u64> {
        let (_, ticket) = self.running.remove(0);
        let granted = seats.leave(ticket, 3 * MILLISECOND);
        let ids = granted.iter().map(|(id, _)| *id).collect();
        self.grant(granted);
        ids
    }
}

#[test]
fn a_flood_waits_in_its_own_queues() {
    let (mut seats, levels) = seats(4, &[level("all", 1, 0)]);
    let mut room = Room::default();
    for _ in 0..104 {
        room.enter(&mut seats, levels[0], 7);
    }
    assert_eq!((room.running.len(), room.waiting.len()), (4, 100));
    // Somebody else comes last, and is next.
    assert!(!room.enter(&mut seats, levels[0], 123_456_789));
    let last = *room.waiting.last().expect("it waits");
    let first: Vec<u64> = (0..2).flat_map(|_| room.end_one(&mut seats)).collect();
    assert!(first.contains(&last), "{first:?} are before {last}");
    // And it gets half of the server for as long as it wants it.
    let mut own = 0;
    room.enter(&mut seats, levels[0], 123_456_789);
    let mut mouse = *room.waiting.last().expect("it waits");
    for _ in 0..40 {
        let granted = room.end_one(&mut seats);
        if granted.contains(&mouse) {
            own += 1;
            room.enter(&mut seats, levels[0], 123_456_789);
            mouse = *room.waiting.last().expect("it waits");
        }
    }
    // Its four queues of sixteen are as good as those of the flood.
    assert!(own >= 7, "{own} of 40");
}

#[test]
fn a_flow_fills_its_queues_and_no_other() {
    let (mut seats, levels) = seats(1, &[level("all", 1, 0)]);
    let mut refused = 0;
    for _ in 0..1_000 {
        refused += usize::from(seats.enter(levels[0], 7, 1) == Entered::Full { queues: true });
    }
    assert_eq!(refused, 1_000 - 1 - 4 * 50);
    assert!(matches!(seats.enter(levels[0], 123_456_789, 1), Entered::Waits(..)));
}

#[test]
fn a_level_without_queues_refuses_at_once() {
    let (mut seats, levels) = seats(2, &[Wanted { queuing: None, ..level("last", 1, 0) }]);
    assert!(matches!(seats.enter(levels[0], 1, 1), Entered::Turn(_)));
    assert!(matches!(seats.enter(levels[0], 1, 1), Entered::Turn(_)));
    assert_eq!(seats.enter(levels[0], 1, 1), Entered::Full { queues: false });
}

#[test]
fn seats_are_lent_and_taken_back() {
    let (mut seats, levels) = seats(20, &[level("quiet", 1, 50), level("loud", 1, 50)]);
    let mut room = Room::default();
    // Ten are its own, and five of the other's are there for whoever wants them.
    for _ in 0..30 {
        room.enter(&mut seats, levels[1], 7);
    }
    assert_eq!(room.running.len(), 15);
    // The quiet one has five that nobody can take, and the next five before anybody else.
    let mut quiet = Room::default();
    for _ in 0..10 {
        quiet.enter(&mut seats, levels[0], 9);
    }
    assert_eq!(quiet.running.len(), 5);
    for _ in 0..5 {
        let (_, ticket) = room.running.remove(0);
        let granted = seats.leave(ticket, MILLISECOND);
        quiet.grant(granted);
    }
    assert_eq!((room.running.len(), quiet.running.len(), quiet.waiting.len()), (10, 10, 0));
    let standing: Vec<(u32, u32)> = seats.standing().iter().map(|level| (level.nominal, level.used)).collect();
    assert_eq!(standing, [(10, 10), (10, 10)]);
}

#[test]
fn what_may_be_borrowed_has_a_bound() {
    let bounded = Wanted { borrowing: Some(20), ..level("bounded", 1, 0) };
    let (mut seats, levels) = seats(20, &[level("lender", 1, 100), bounded]);
    let mut room = Room::default();
    for _ in 0..30 {
        room.enter(&mut seats, levels[1], 7);
    }
    assert_eq!(room.running.len(), 12);
}

#[test]
fn one_request_always_runs() {
    let (mut seats, levels) = seats(4, &[level("greedy", 100, 100), level("none", 0, 0)]);
    let mut room = Room::default();
    for _ in 0..10 {
        room.enter(&mut seats, levels[0], 7);
    }
    assert!(room.enter(&mut seats, levels[1], 9));
    assert!(!room.enter(&mut seats, levels[1], 9));
}

#[test]
fn a_wide_request_takes_its_seats_but_never_all() {
    let (mut seats, levels) = seats(100, &[level("all", 1, 0)]);
    let mut widths = Vec::new();
    while let Entered::Turn(ticket) = seats.enter(levels[0], 7, 10) {
        widths.push(ticket.seats);
    }
    assert_eq!(widths, [10; 10]);
    let (mut few, levels) = self::seats(10, &[level("all", 1, 0)]);
    assert!(matches!(few.enter(levels[0], 7, 10), Entered::Turn(ticket) if ticket.seats == 1));
}

#[test]
fn a_change_of_shares_lets_those_in_who_wait() {
    let (mut seats, levels) = seats(4, &[level("a", 1, 0), level("b", 1, 0)]);
    let mut room = Room::default();
    for _ in 0..6 {
        room.enter(&mut seats, levels[0], 7);
    }
    assert_eq!((room.running.len(), room.waiting.len()), (2, 4));
    let (numbers, granted) = seats.configure(&[level("a", 3, 0), level("b", 1, 0)]);
    assert_eq!((numbers[0], granted.len()), (Some(levels[0]), 1));
    room.grant(granted);
    // Other queues are another level: what waits in the old one still gets its turn.
    let other = Wanted { queuing: None, ..level("a", 1, 0) };
    let (numbers, granted) = seats.configure(&[other]);
    room.grant(granted);
    assert_ne!(numbers[0], Some(levels[0]));
    while !room.running.is_empty() {
        room.end_one(&mut seats);
    }
    assert_eq!(room.waiting, Vec::<u64>::new());
    assert_eq!(seats.enter(levels[0], 7, 1), Entered::Gone);
}

proptest! {
    /// Whatever comes and goes: nobody waits while there is a seat for them, and everybody gets a turn in the end.
    #[test]
    fn everybody_gets_a_turn(steps in proptest::collection::vec((0..3_usize, any::<u64>(), 1..12_u32, 0..3_u8), 1..200)) {
        let wanted = [level("a", 3, 50), level("b", 2, 0), Wanted { borrowing: Some(50), ..level("c", 1, 100) }];
        let (mut seats, levels) = seats(12, &wanted);
        let mut running: HashMap<u64, Ticket> = HashMap::new();
        let mut waiting: Vec<(usize, u64)> = Vec::new();
        let mut next = 1 << 40;
        for (which, hash, wide, end) in steps {
            if end == 0 && let Some(id) = running.keys().min().copied() {
                let ticket = running.remove(&id).expect("runs");
                for (id, ticket) in seats.leave(ticket, MILLISECOND) {
                    waiting.retain(|(_, waits)| *waits != id);
                    running.insert(id, ticket);
                }
            } else if end == 1 && !waiting.is_empty() {
                let (level, id) = waiting.remove(0);
                prop_assert!(seats.give_up(levels[level], id));
            } else {
                match seats.enter(levels[which], hash, wide) {
                    Entered::Turn(ticket) => { next += 1; running.insert(next, ticket); }
                    Entered::Waits(id, granted) => {
                        waiting.push((which, id));
                        for (id, ticket) in granted {
                            waiting.retain(|(_, waits)| *waits != id);
                            running.insert(id, ticket);
                        }
                    }
                    Entered::Full { .. } | Entered::Gone => {}
                }
            }
            prop_assert!(waiting.is_empty() || !running.is_empty());
        }
        while let Some(id) = running.keys().min().copied() {
            let ticket = running.remove(&id).expect("runs");
            for (id, ticket) in seats.leave(ticket, MILLISECOND) {
                waiting.retain(|(_, waits)| *waits != id);
                running.insert(id, ticket);
            }
        }
        prop_assert!(waiting.is_empty());
        prop_assert!(seats.standing().iter().all(|level| level.used == 0 && level.waiting == 0));
    }
}

fn read<T: for<'a> serde::Deserialize<'a>>(objects: Vec<Value>) -> Vec<T> {
    objects.iter().map(|object| config::read(object.to_string().as_bytes()).expect("an object")).collect()
}

/// A server with what every cluster has.
fn fairness(at_once: u32) -> Fairness {
    let fairness = Fairness::new(at_once);
    fairness.take_in(read::<SchemaObject>(flow::schemas()), read::<LevelObject>(flow::levels()));
    fairness
}

fn schema_of(fairness: &Fairness, user: &User, asked: &Attributes<'_>) -> String {
    let Flow { flows, schema, .. } = fairness.classify(user, asked);
    flows.schemas[schema].name.clone()
}

#[test]
fn requests_belong_to_flows() {
    let fairness = fairness(600);
    let pods = Attributes { verb: "list", resource: "pods", namespace: "shop", ..Attributes::default() };
    let lease = Attributes {
        verb: "update",
        group: "coordination.k8s.io",
        resource: "leases",
        namespace: "kube-system",
        name: "x",
        ..Attributes::default()
    };
    let status =
        Attributes { verb: "patch", resource: "nodes", subresource: "status", name: "n", ..Attributes::default() };
    let health = Attributes { verb: "get", path: Some("/healthz"), ..Attributes::default() };
    let discovery = Attributes { verb: "get", path: Some("/apis"), ..Attributes::default() };
    let (node, system) = (User::new("system:node:n", &["system:nodes"]), User::service_account("kube-system", "x", ""));
    let cases = [
        (User::new("root", &[MASTERS]), pods, "exempt"),
        (User::new("kim", &[]), pods, "global-default"),
        (User::new("kim", &[]), health, "probes"),
        (User::new("kim", &[]), discovery, "global-default"),
        (node.clone(), pods, "system-nodes"),
        (node.clone(), status, "system-node-high"),
        (node, Attributes { namespace: "kube-node-lease", ..lease }, "system-node-high"),
        (system.clone(), lease, "system-leader-election"),
        (system, pods, "kube-system-service-accounts"),
        (User::service_account("shop", "web", ""), pods, "service-accounts"),
        (User::new("system:kube-scheduler", &[]), pods, "kube-scheduler"),
        (
            User::new("system:kube-controller-manager", &[]),
            Attributes { verb: "update", resource: "endpoints", ..pods },
            "endpoint-controller",
        ),
    ];
    for (user, asked, schema) in cases {
        assert_eq!(schema_of(&fairness, &user, &asked), schema, "{} {asked:?}", user.name);
    }
}

#[test]
fn a_schema_without_its_level_counts_for_nothing() {
    let fairness = fairness(600);
    let lost = json!({ "metadata": { "name": "lost" }, "spec": { "priorityLevelConfiguration": { "name": "nowhere" },
        "matchingPrecedence": 3, "rules": [{ "subjects": [{ "kind": "User", "user": { "name": "kim" } }],
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"] }] }] } });
    let found = json!({ "metadata": { "name": "found" }, "spec": { "priorityLevelConfiguration": { "name": "system" },
        "matchingPrecedence": 4, "rules": lost["spec"]["rules"] } });
    let schemas: Vec<Value> = flow::schemas().into_iter().chain([lost, found]).collect();
    fairness.take_in(read::<SchemaObject>(schemas), read::<LevelObject>(flow::levels()));
    let pods = Attributes { verb: "list", resource: "pods", namespace: "shop", ..Attributes::default() };
    assert_eq!(schema_of(&fairness, &User::new("kim", &[]), &pods), "found");
}

#[tokio::test]
async fn whoever_gives_up_waiting_leaves_nothing_behind() {
    let fairness = fairness(1);
    let kim = User::new("kim", &[]);
    let pods = Attributes { verb: "list", resource: "pods", namespace: "shop", ..Attributes::default() };
    let flow = fairness.classify(&kim, &pods);
    // Each level has one seat at least, and lends the half of it.
    let mut held = Vec::new();
    let mut patient = Vec::new();
    for _ in 0..20 {
        let mut entering = Box::pin(fairness.enter(&flow, || 1));
        match futures_util::poll!(&mut entering) {
            std::task::Poll::Ready(turn) => held.push(turn.expect("a turn")),
            std::task::Poll::Pending => patient.push(entering),
        }
    }
    assert!(!held.is_empty() && !patient.is_empty(), "{} {}", held.len(), patient.len());
    let first = patient.remove(0);
    patient.clear();
    held.clear();
    drop(first.await.expect("a turn"));
    let standing = fairness.turns.lock().seats.standing();
    assert!(standing.iter().all(|level| level.used == 0 && level.waiting == 0), "{standing:?}");
    assert!(fairness.turns.lock().waiting.is_empty());
}
