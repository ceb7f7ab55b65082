//! The node's own HTTP interface.

use naru_client::BoxedIo;

use crate::fleet::Fleet;

/// Serves one byte stream.
pub(crate) async fn serve(_fleet: Fleet, stream: BoxedIo) {
    drop(stream);
}
