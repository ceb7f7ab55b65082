//! Doing a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naru_etcd::{Error, TxnResponse};
use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::feed::{Happened, Ticket, Waiting};
use super::request::Draft;
use super::{PATIENCE, Remote};
use crate::root::Root;
use crate::sequencer::Write;
use crate::{CommitError, Committed, Key, Snapshot, StoreError, Txn};

/// After so many attempts on states that others keep changing, the transactions of this process take turns.
const FREE_RUNS: usize = 2;

/// A transaction that was sent and whose answer was lost, with what its closure had returned.
struct Doubtful<T> {
    ticket: Ticket,
    value: T,
}

/// How one attempt ended.
enum Attempt<T, E> {
    Done(Committed<T>),
    Failed(CommitError<E>),
    /// What it read has changed.
    Again,
}

impl Remote {
    /// See [`Store::confirm`](crate::Store::confirm).
    pub async fn confirm(&self) -> Result<Snapshot, StoreError> {
        let newest = self.asker.newest().await?;
        let behind = || StoreError::Unavailable {
            source: Error::NoAnswer {
                endpoint: "its watch".to_owned(),
                message: format!("the changes up to revision {newest} did not come within {} s", PATIENCE.as_secs()),
            },
        };
        timeout_at(Instant::now() + PATIENCE, self.shared.reach(newest)).await.map_err(|_| behind())??;
        Ok(Snapshot(self.shared.published.head()))
    }

    /// See [`Store::commit`](crate::Store::commit).
    pub async fn commit<T, E>(
        &self,
        mut f: impl FnMut(&mut Txn<'_>) -> Result<T, E> + Send,
        prepare: impl Fn(&Root, Writes) -> Result<Prepared, CommitError<E>>,
    ) -> Result<Committed<T>, CommitError<E>> {
        let deadline = Instant::now() + PATIENCE;
        let mut doubtful = Vec::new();
        let mut turn = None;
        for run in 0.. {
            if self.shared.is_closed() {
                return Err(StoreError::Closed.into());
            }
            if run == FREE_RUNS {
                turn = Some(self.turn.lock().await);
            }
            match self.attempt(&mut f, &prepare, &mut doubtful, deadline).await {
                Attempt::Done(committed) => return Ok(committed),
                Attempt::Failed(error) => return Err(error),
                Attempt::Again => {}
            }
        }
        drop(turn);
        Err(StoreError::Closed.into())
    }

    async fn attempt<T, E>(
        &self,
        f: &mut impl FnMut(&mut Txn<'_>) -> Result<T, E>,
        prepare: &impl Fn(&Root, Writes) -> Result<Prepared, CommitError<E>>,
        doubtful: &mut Vec<Doubtful<T>>,
        deadline: Instant,
    ) -> Attempt<T, E> {
        let root = self.shared.published.head();
        let (result, reads, writes) = {
            let mut txn = Txn::new(&root);
            let result = f(&mut txn);
            let (reads, writes) = txn.finish();
            (result, reads, writes)
        };
        let value = match result {
            Ok(value) => value,
            Err(refusal) => {
                return match self.settle(&root, |now| reads.still_hold(&root, now), doubtful).await {
                    Ok(Settled::Holds) => Attempt::Failed(CommitError::Rejected(refusal)),
                    Ok(Settled::Done(committed)) => Attempt::Done(committed),
                    Ok(Settled::Again) => Attempt::Again,
                    Err(error) => Attempt::Failed(error.into()),
                };
            }
        };
        let writes: Writes =
            writes.into_iter().filter(|(key, value)| value.is_some() || root.get(key).is_some()).collect();
        if writes.is_empty() {
            return match self.settle(&root, |now| reads.still_hold(&root, now), doubtful).await {
                Ok(Settled::Holds) => {
                    Attempt::Done(Committed { value, revision: root.revision, changes: Arc::new([]) })
                }
                Ok(Settled::Done(committed)) => Attempt::Done(committed),
                Ok(Settled::Again) => Attempt::Again,
                Err(error) => Attempt::Failed(error.into()),
            };
        }
        let prepared = match prepare(&root, writes) {
            Ok(prepared) => prepared,
            Err(error) => return Attempt::Failed(error),
        };
        let (space, offset) = (&self.shared.space, self.shared.offset);
        let draft = Draft { space, root: &root, offset, reads: &reads, writes: &prepared };
        let token = self.shared.tokens.fetch_add(1, Ordering::Relaxed);
        let request = draft.request(self.shared.instance, token);
        let (done, happened) = oneshot::channel();
        let waiting = Waiting { writes: prepared, guess: root.revision.next(), done };
        self.shared.waiting.lock().insert(token, waiting);
        let ticket = Ticket::new(token, happened, self.shared.clone());
        let answer = self.shared.kv.txn(request).await;
        self.answered(answer, Doubtful { ticket, value }, doubtful, deadline).await
    }

    /// What follows from etcd's answer to a transaction.
    async fn answered<T, E>(
        &self,
        answer: Result<TxnResponse, Error>,
        mut sent: Doubtful<T>,
        doubtful: &mut Vec<Doubtful<T>>,
        deadline: Instant,
    ) -> Attempt<T, E> {
        match answer {
            Ok(answer) if answer.succeeded => match timeout_at(Instant::now() + PATIENCE, sent.ticket.wait()).await {
                Ok(Ok(happened)) => Attempt::Done(committed(sent.value, happened)),
                // It happened, but nobody can be shown what came of it.
                _ if self.shared.is_closed() => Attempt::Failed(StoreError::Closed.into()),
                _ => Attempt::Failed(unknown("the watch has not brought it".to_owned())),
            },
            Ok(answer) => {
                drop(sent);
                let tick = answer.responses.first().and_then(|answer| answer.range()?.kvs.first());
                let tick = tick.map_or(0, |tick| tick.mod_revision.cast_unsigned());
                match timeout_at(deadline.max(Instant::now() + PATIENCE), self.shared.reach(tick)).await {
                    Ok(Ok(())) => looked(doubtful),
                    Ok(Err(error)) => Attempt::Failed(error.into()),
                    Err(_) => Attempt::Failed(late(
                        doubtful,
                        Error::NoAnswer {
                            endpoint: "its watch".to_owned(),
                            message: "the newest changes do not come".to_owned(),
                        },
                    )),
                }
            }
            Err(error @ (Error::NoAnswer { .. } | Error::Busy { .. })) => {
                if error.is_ambiguous() {
                    doubtful.push(sent);
                }
                if Instant::now() >= deadline {
                    return Attempt::Failed(late(doubtful, error));
                }
                Pause::new().wait().await;
                // Whoever is asked next answers after all that this one has done.
                match self.confirm().await {
                    Ok(_) => looked(doubtful),
                    Err(StoreError::Closed) => Attempt::Failed(StoreError::Closed.into()),
                    Err(_) => Attempt::Failed(late(doubtful, error)),
                }
            }
            Err(source) => match looked(doubtful) {
                Attempt::Again if doubtful.is_empty() => Attempt::Failed(StoreError::Refused { source }.into()),
                Attempt::Again => Attempt::Failed(unknown(source.to_string())),
                ended => ended,
            },
        }
    }

    /// Whether a decision that writes nothing still stands in the newest state.
    async fn settle<T>(
        &self,
        root: &Root,
        holds: impl Fn(&Root) -> bool,
        doubtful: &mut Vec<Doubtful<T>>,
    ) -> Result<Settled<T>, StoreError> {
        let now = match self.confirm().await {
            Ok(now) => now,
            Err(StoreError::Unavailable { source }) if !doubtful.is_empty() => {
                return Err(StoreError::Unknown { why: source.to_string() });
            }
            Err(error) => return Err(error),
        };
        if let Some(committed) = look(doubtful)? {
            return Ok(Settled::Done(committed));
        }
        if now.0.revision != root.revision && !holds(&now.0) {
            return Ok(Settled::Again);
        }
        if !doubtful.is_empty() {
            // An earlier attempt may yet happen: a refusal would be a promise that it does not.
            return Err(StoreError::Unknown { why: "an earlier attempt was not answered".to_owned() });
        }
        Ok(Settled::Holds)
    }
}

/// What a transaction wants to write.
pub(crate) type Writes = BTreeMap<Key, Option<bytes::Bytes>>;
/// The same, opened.
pub(crate) type Prepared = BTreeMap<Key, Option<Write>>;

enum Settled<T> {
    Holds,
    Again,
    Done(Committed<T>),
}

/// Whether one of those in doubt has happened after all.
fn look<T>(doubtful: &mut Vec<Doubtful<T>>) -> Result<Option<Committed<T>>, StoreError> {
    for at in 0..doubtful.len() {
        if let Some(happened) = doubtful[at].ticket.look()? {
            return Ok(Some(committed(doubtful.swap_remove(at).value, happened)));
        }
    }
    Ok(None)
}

fn looked<T, E>(doubtful: &mut Vec<Doubtful<T>>) -> Attempt<T, E> {
    match look(doubtful) {
        Ok(Some(committed)) => Attempt::Done(committed),
        Ok(None) => Attempt::Again,
        Err(error) => Attempt::Failed(error.into()),
    }
}

fn committed<T>(value: T, (revision, changes): Happened) -> Committed<T> {
    Committed { value, revision, changes }
}

/// Patience is at its end.
fn late<T, E>(doubtful: &[Doubtful<T>], source: Error) -> CommitError<E> {
    match doubtful {
        [] => StoreError::Unavailable { source }.into(),
        _ => unknown(source.to_string()),
    }
}

fn unknown<E>(why: String) -> CommitError<E> {
    StoreError::Unknown { why }.into()
}

/// Waits longer each time, never in step with others.
pub(super) struct Pause(Duration);

impl Pause {
    const LONGEST: Duration = Duration::from_secs(2);

    pub fn new() -> Pause {
        Pause(Duration::from_millis(20))
    }

    pub async fn wait(&mut self) {
        let share = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(self.0.mul_f64(share)).await;
        self.0 = (self.0 * 2).min(Pause::LONGEST);
    }
}
