//! `GET /dataplane`: up to which revision of EndpointSlices this node's rules are, a line for each, the newest first.

use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use naru_client::BoxError;

use super::{
    reply::{Refusal, Reply, typed},
    router::Call,
};

pub(super) fn progress(call: &Call) -> Reply {
    let told = call.node().config.network.in_force();
    let told = told.ok_or_else(|| Refusal::absent("this node's network does not say how far it is"))?;
    // Pulled by the connection: who reads slowly gets the newest.
    let lines = told.map(|revision| Ok::<_, BoxError>(Frame::data(format!("{{\"revision\":{revision}}}\n").into())));
    Ok(typed("application/json", StreamBody::new(lines).boxed_unsync()))
}
