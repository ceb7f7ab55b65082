//! The way from the API server to the node in the same process: a pipe in memory.

use std::sync::{Arc, OnceLock};

use naru_agent::Agent;
use naru_client::{BoxFuture, BoxedIo, DialError, NodeDialer};

/// Bytes that wait in one direction before the writer does.
const BUFFER: usize = 256 * 1024;

/// Reaches the one node of this process.
pub(crate) struct LocalDialer {
    node: String,
    agent: OnceLock<Arc<Agent>>,
}

impl LocalDialer {
    /// A way to `node`, which is not there yet.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), agent: OnceLock::new() }
    }

    /// The node is there.
    pub fn connect(&self, agent: Arc<Agent>) {
        let _ = self.agent.set(agent);
    }
}

impl NodeDialer for LocalDialer {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        let agent = self.agent.get().filter(|_| node == self.node).cloned();
        let node = node.to_owned();
        Box::pin(async move {
            let Some(agent) = agent else { return Err(DialError::NotConnected { node }) };
            let (near, far) = tokio::io::duplex(BUFFER);
            tokio::spawn(async move { agent.serve(Box::new(far)).await });
            Ok(Box::new(near) as BoxedIo)
        })
    }
}
