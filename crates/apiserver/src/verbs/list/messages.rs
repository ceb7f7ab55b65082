//! The items of a list in protobuf.
//!
//! A list begins with its length, so every message is made before the first byte is sent. What is made is kept up to
//! some size; the rest is made again while it is sent, so that a list of everything holds no second copy of everything.
//! Refused: messages kept beside the objects, which would cost nearly their memory again for good.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use naru_api::Status;
use naru_protobuf::Unwritable;
use naru_store::Entry;

use super::Item;
use crate::represent::Form;
use crate::routes::Route;

/// How many bytes of messages one list keeps.
pub(super) const KEPT: usize = 4 << 20;
/// Lists from this size on are made where nobody waits for the thread.
const LARGE: usize = 200;

/// An item of a list.
pub(super) struct Message {
    length: usize,
    state: State,
}

enum State {
    Made(Vec<u8>),
    /// It is made when it is sent.
    Of(Arc<Route>, Form, Bytes),
}

// === impl Message ===

impl Message {
    pub(super) fn len(&self) -> usize {
        self.length
    }
}

impl Item for Message {
    fn put(&self, piece: &mut BytesMut) {
        match &self.state {
            State::Made(message) => naru_protobuf::put_item(piece, message),
            // It was made of the same bytes before.
            State::Of(route, form, served) => {
                naru_protobuf::put_item(piece, &form.message(route, served).unwrap_or_default());
            }
        }
    }
}

/// The messages of these objects.
///
/// # Errors
/// 500 for one that cannot be written.
pub(super) async fn of(route: &Arc<Route>, form: Form, entries: Vec<Arc<Entry>>) -> Result<Vec<Message>, Status> {
    let served: Vec<Bytes> = entries.into_iter().map(|entry| entry.served.clone()).collect();
    if served.len() < LARGE {
        return made(route, form, served, KEPT).map_err(Status::internal);
    }
    let route = route.clone();
    let made = tokio::task::spawn_blocking(move || made(&route, form, served, KEPT)).await;
    made.map_err(Status::internal)?.map_err(Status::internal)
}

fn made(route: &Arc<Route>, form: Form, served: Vec<Bytes>, keep: usize) -> Result<Vec<Message>, Unwritable> {
    let mut room = keep;
    let message = |served: Bytes| {
        let message = form.message(route, &served)?;
        let length = message.len();
        room = room.saturating_sub(length);
        let state = if room > 0 { State::Made(message) } else { State::Of(route.clone(), form, served) };
        Ok(Message { length, state })
    };
    served.into_iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use naru_api::Registry;
    use serde_json::json;

    use super::*;
    use crate::represent::Include;
    use crate::routes::Routes;
    use crate::wire::negotiate::{Media, Shape};

    #[test]
    fn what_is_made_again_is_the_same() {
        let route = Routes::of(&Registry::builtin()).find("", "v1", "configmaps").expect("served").clone();
        let form = Form { media: Media::Protobuf, shape: Shape::Whole, include: Include::None };
        let map = |n: usize| {
            let metadata = json!({"name": format!("m{n}"), "labels": {"a": "b"}});
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"k": "v".repeat(n)}})
        };
        let served: Vec<Bytes> = (0..9).map(|n| map(n * 40).to_string().into()).collect();
        let kept = made(&route, form, served.clone(), usize::MAX).expect("messages");
        let again = made(&route, form, served, 600).expect("messages");
        let is_made = |message: &&Message| matches!(message.state, State::Made(_));
        assert_eq!(kept.iter().filter(is_made).count(), 9);
        let count = again.iter().filter(is_made).count();
        assert!(count > 0 && count < 9, "{count}");
        for (kept, again) in kept.iter().zip(&again) {
            let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
            kept.put(&mut one);
            again.put(&mut other);
            assert_eq!(one, other);
            assert_eq!(one.len(), naru_protobuf::item_len(again.len()));
        }
    }
}
