//! A small memory of upstream answers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// What is asked, in lower case.
pub(super) type Question = (Name, RecordType, bool);

/// Answers are never kept longer, whatever they say: a wrong one should not outlive a cup of tea.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Question, (Instant, Instant, Message)>,
    capacity: usize,
}

impl Cache {
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity }
    }

    /// The answer to `question`, if it is known and still holds; its lifetimes are what is left of them.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Message> {
        let (stored, expires, message) = self.entries.get(question)?;
        if *expires <= now {
            return None;
        }
        let mut message = message.clone();
        let age = now.duration_since(*stored).as_secs() as u32;
        for record in message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Remembers an answer for as long as it says it may be.
    pub fn put(&mut self, question: Question, message: &Message, now: Instant) {
        let Some(lifetime) = lifetime(message) else { return };
        if self.entries.len() >= self.capacity {
            self.entries.retain(|_, (_, expires, _)| *expires > now);
            if self.entries.len() >= self.capacity {
                self.entries.clear();
            }
        }
        self.entries.insert(question, (now, now + lifetime, message.clone()));
    }
}

fn lifetime(message: &Message) -> Option<Duration> {
    if message.metadata.truncation {
        return None;
    }
    let seconds = match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => {
            message.answers.iter().map(|record| record.ttl).min()?
        }
        ResponseCode::NoError | ResponseCode::NXDomain => message.authorities.iter().find_map(|record| {
            let RData::SOA(soa) = &record.data else { return None };
            Some(soa.minimum.min(record.ttl))
        })?,
        _ => return None,
    };
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST))
}
