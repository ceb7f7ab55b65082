//! Wiring: what runs, and what ends it.

use naru_client::BoxedIo;

use crate::Config;

/// A running agent. Dropping it ends its tasks; pods keep running and are found again at the next start.
pub struct Agent {
    _config: Config,
}

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder of the agent's could not be made or read.
    #[error("cannot use {path} for the agent's state")]
    State {
        /// Which folder.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The runtime could not say which pods exist.
    #[error("cannot find the pods that run on this machine")]
    Adopt(#[source] naru_runtime::pod::PodError),
}

impl Agent {
    /// Adopts what runs and starts looking after this node's pods.
    ///
    /// # Errors
    /// When the state folder is unusable or the runtime cannot be asked.
    pub async fn start(config: Config) -> Result<Agent, StartError> {
        Ok(Agent { _config: config })
    }

    /// Serves the node's HTTP interface over one byte stream, until it ends.
    pub async fn serve(&self, stream: BoxedIo) {
        drop(stream);
    }
}
