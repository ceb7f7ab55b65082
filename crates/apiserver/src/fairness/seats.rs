//! Seats, and who gets the next: a decision without a clock.
//!
//! Every level has seats of its own and shares of a pool, which is made of what the levels lend. A level takes its own
//! seats first, then from the pool; when one comes free there, levels that have taken less than they gave go first. Inside a
//! level, queues go by virtual time (start-time fair queueing): a request starts when the ones before it in its queue
//! have had their time of the server, or now; the earliest start goes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::shuffle;

/// How long a request is thought to take until it has ended, in microseconds of one seat.
const GUESS: u64 = 3_000;

/// The right to work on one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    level: u32,
    queue: usize,
    /// How many seats it takes.
    pub(super) seats: u32,
}

/// What happens to a request that comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// Its turn is now.
    Turn(Ticket),
    /// It waits under this number; and whose turn it is now, which may be its own.
    Waits(u64, Vec<(u64, Ticket)>),
    /// There is no such level any more.
    Gone,
    /// There is no room; with `queues`, the one where it would have waited is full.
    Full {
        /// Whether the level has queues.
        queues: bool,
    },
}

/// How requests of a level wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queuing {
    /// How many queues there are.
    pub(super) queues: usize,
    /// How many of them a flow can use.
    pub(super) hand: usize,
    /// How many requests wait in one at most.
    pub(super) length: usize,
}

/// What a level is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its name, by which it is known again.
    pub(super) name: String,
    /// Its part of all seats, in relation to the others'.
    pub(super) shares: u64,
    /// How much of it may be lent, in percent.
    pub(super) lendable: u64,
    /// How much it may take beyond its part, in percent of it; `None`: whatever there is.
    pub(super) borrowing: Option<u64>,
    /// `None`: nobody waits.
    pub(super) queuing: Option<Queuing>,
    /// Whether it takes no seats, and only lends its own.
    pub(super) exempt: bool,
}

/// How a level stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) nominal: u32,
    pub(super) used: u32,
    pub(super) waiting: u32,
}

/// The seats of a server.
#[derive(Debug)]
pub(super) struct Seats {
    total: u32,
    levels: BTreeMap<u32, Level>,
    /// Seats that are lent, and how many of those are taken.
    pool: u32,
    taken: u32,
    /// Requests that wait.
    waiting: u32,
    next_level: u32,
    next_id: u64,
}

#[derive(Debug)]
struct Level {
    wanted: Wanted,
    /// Seats that are only its own.
    own: u32,
    /// Seats that it gave to the pool.
    lent: u32,
    /// Seats that it may have at most.
    most: u32,
    used: u32,
    waiting: u32,
    queues: Vec<Queue>,
    /// The latest start of a request.
    now: u64,
    /// Replaced: ends when nothing of it is left.
    retired: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(u64, u32)>,
    /// When its next request starts, in virtual microseconds.
    start: u64,
    executing: u32,
}

// === impl Seats ===

impl Seats {
    pub(super) fn new(total: u32) -> Seats {
        Seats { total, levels: BTreeMap::new(), pool: 0, taken: 0, waiting: 0, next_level: 0, next_id: 0 }
    }

    /// Has these levels from now on and answers their numbers, `None` for exempt ones. A level that only has other shares goes
    /// on as it is; what was begun under another ends there.
    pub(super) fn configure(&mut self, wanted: &[Wanted]) -> (Vec<Option<u32>>, Vec<(u64, Ticket)>) {
        let shares: u64 = wanted.iter().map(|level| level.shares).sum();
        let mut kept: Vec<Option<u32>> = Vec::with_capacity(wanted.len());
        for level in self.levels.values_mut() {
            level.retired = true;
        }
        self.pool = 0;
        for level in wanted {
            let nominal = (u64::from(self.total) * level.shares).div_ceil(shares.max(1));
            let part = |percent: u64| u32::try_from((nominal * percent + 50) / 100).unwrap_or(u32::MAX);
            let nominal = u32::try_from(nominal).unwrap_or(u32::MAX);
            let lent = part(level.lendable.min(100)).min(nominal);
            self.pool += lent;
            if level.exempt {
                kept.push(None);
                continue;
            }
            let known = self.levels.iter().find(|(_, known)| known.retired && known.continues(level));
            let id = known.map_or(self.next_level, |(id, _)| *id);
            self.next_level = self.next_level.max(id + 1);
            let queues = level.queuing.map_or(1, |queuing| queuing.queues);
            let entry = self.levels.entry(id).or_insert_with(|| Level::new(level.clone(), queues));
            (entry.own, entry.lent, entry.retired) = (nominal - lent, lent, false);
            entry.most = level.borrowing.map_or(u32::MAX, |percent| nominal.saturating_add(part(percent)));
            entry.wanted = level.clone();
            kept.push(Some(id));
        }
        self.levels.retain(|_, level| !level.is_over());
        self.taken = self.levels.values().map(Level::beyond).sum();
        (kept, self.dispatch())
    }

    /// A request comes that takes so many seats; its flow's hash chooses its queues.
    pub(super) fn enter(&mut self, level: u32, hash: u64, seats: u32) -> Entered {
        let Some(known) = self.levels.get_mut(&level) else { return Entered::Gone };
        let seats = seats.min(known.widest());
        let at = known.queue(hash);
        known.arrive(at);
        // Nobody is passed over: not who waits in this level, nor, for seats of the pool, who waits in another.
        let first = self.waiting == 0 || (known.waiting == 0 && known.used + seats <= known.own);
        if first && self.can_run(level, seats) {
            return Entered::Turn(self.take(level, at, seats));
        }
        let Some(known) = self.levels.get_mut(&level) else { return Entered::Gone };
        let queue = &mut known.queues[at];
        match known.wanted.queuing {
            None => return Entered::Full { queues: false },
            Some(queuing) if queue.waiting.len() >= queuing.length => return Entered::Full { queues: true },
            Some(_) => {}
        }
        let id = self.next_id;
        self.next_id += 1;
        queue.waiting.push_back((id, seats));
        known.waiting += 1;
        self.waiting += 1;
        // It may be its turn all the same: others can wait for what it does not need.
        Entered::Waits(id, self.dispatch())
    }

    /// A request has ended; answers whose turn it is now.
    pub(super) fn leave(&mut self, ticket: Ticket, took: Duration) -> Vec<(u64, Ticket)> {
        let Some(level) = self.levels.get_mut(&ticket.level) else { return Vec::new() };
        let before = level.beyond();
        level.used -= ticket.seats;
        self.taken -= before - level.beyond();
        let queue = &mut level.queues[ticket.queue];
        queue.executing -= 1;
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(60_000_000);
        let (guessed, real) = (GUESS * u64::from(ticket.seats), took * u64::from(ticket.seats));
        queue.start = (queue.start + real).saturating_sub(guessed);
        if level.is_over() {
            self.levels.remove(&ticket.level);
        }
        self.dispatch()
    }

    /// A request does not want its turn any more; `false` when it does not wait.
    pub(super) fn give_up(&mut self, level: u32, id: u64) -> bool {
        let Some(known) = self.levels.get_mut(&level) else { return false };
        for queue in &mut known.queues {
            let found = queue.waiting.iter().position(|(waiting, _)| *waiting == id);
            if let Some(at) = found {
                queue.waiting.remove(at);
                known.waiting -= 1;
                self.waiting -= 1;
                if known.is_over() {
                    self.levels.remove(&level);
                }
                return true;
            }
        }
        false
    }

    /// How the levels stand.
    pub(super) fn standing(&self) -> Vec<Standing> {
        let live = self.levels.values().filter(|level| !level.retired);
        live.map(|level| Standing {
            name: level.wanted.name.clone(),
            nominal: level.own + level.lent,
            used: level.used,
            waiting: level.waiting,
        })
        .collect()
    }

    fn can_run(&self, level: u32, seats: u32) -> bool {
        let Some(level) = self.levels.get(&level) else { return false };
        let seats = seats.min(level.widest());
        // One at a time always runs, whatever the others took.
        if level.used == 0 {
            return true;
        }
        let used = level.used + seats;
        let more = used.saturating_sub(level.own) - level.beyond();
        used <= level.most && (more == 0 || self.taken + more <= self.pool)
    }

    fn take(&mut self, level: u32, queue: usize, seats: u32) -> Ticket {
        if let Some(known) = self.levels.get_mut(&level) {
            let before = known.beyond();
            known.used += seats;
            self.taken += known.beyond() - before;
            let queue = &mut known.queues[queue];
            known.now = known.now.max(queue.start);
            queue.start += GUESS * u64::from(seats);
            queue.executing += 1;
        }
        Ticket { level, queue, seats }
    }

    /// Gives out what is free.
    fn dispatch(&mut self) -> Vec<(u64, Ticket)> {
        let mut granted = Vec::new();
        while self.waiting > 0 {
            let next = self.levels.iter().filter(|(_, level)| level.waiting > 0);
            let next = next.filter(|(id, level)| level.head().is_some_and(|(_, seats)| self.can_run(**id, seats)));
            let next = next.min_by_key(|(_, level)| level.claim()).map(|(id, _)| *id);
            let Some(level) = next else { break };
            granted.extend(self.next_of(level));
        }
        granted
    }

    /// The next request of a level takes its seats.
    fn next_of(&mut self, level: u32) -> Option<(u64, Ticket)> {
        let known = self.levels.get_mut(&level)?;
        let (queue, _) = known.head()?;
        let (id, seats) = known.queues[queue].waiting.pop_front()?;
        known.waiting -= 1;
        self.waiting -= 1;
        Some((id, self.take(level, queue, seats)))
    }
}

// === impl Level ===

impl Level {
    fn new(wanted: Wanted, queues: usize) -> Level {
        let queues = (0..queues).map(|_| Queue::default()).collect();
        Level { wanted, own: 0, lent: 0, most: 0, used: 0, waiting: 0, queues, now: 0, retired: false }
    }

    /// Whether it can go on as `wanted`.
    fn continues(&self, wanted: &Wanted) -> bool {
        self.wanted.name == wanted.name && self.wanted.queuing == wanted.queuing
    }

    fn is_over(&self) -> bool {
        self.retired && self.used == 0 && self.waiting == 0
    }

    /// Seats that it has from the pool.
    fn beyond(&self) -> u32 {
        self.used.saturating_sub(self.own)
    }

    /// How wide a request of it can be: not wider than a seventh of its seats, so that lists do not stop it.
    fn widest(&self) -> u32 {
        ((self.own + self.lent) * 15 / 100).max(1)
    }

    /// The queue for a flow: of those that it can use, the one with the least before it.
    fn queue(&self, hash: u64) -> usize {
        let Some(queuing) = self.wanted.queuing else { return 0 };
        let hand = shuffle::deal(hash, queuing.queues, queuing.hand);
        let load = |queue: &Queue| queue.waiting.iter().map(|(_, seats)| *seats).sum::<u32>() + queue.executing;
        hand.into_iter().min_by_key(|at| load(&self.queues[*at])).unwrap_or(0)
    }

    /// A queue that had nothing to do starts now: what it did not use is not saved up.
    fn arrive(&mut self, queue: usize) {
        let now = self.now;
        let queue = &mut self.queues[queue];
        if queue.executing == 0 && queue.waiting.is_empty() {
            queue.start = queue.start.max(now);
        }
    }

    /// The queue whose request is next, and that request's seats.
    fn head(&self) -> Option<(usize, u32)> {
        let waiting = self.queues.iter().enumerate();
        let first = waiting.filter_map(|(at, queue)| queue.waiting.front().map(|first| (queue.start, *first, at)));
        first.min().map(|(_, (_, seats), at)| (at, seats))
    }

    /// How good its claim on the pool is, the smallest first: those that take back what they gave, then those that have
    /// borrowed least for their size.
    fn claim(&self) -> (bool, u64) {
        let (beyond, size) = (u64::from(self.beyond()), u64::from((self.own + self.lent).max(1)));
        (self.beyond() >= self.lent.max(1), beyond * 1024 / size)
    }
}
