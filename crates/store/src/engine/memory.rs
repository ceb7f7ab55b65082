//! The engine that keeps nothing.

use crate::engine::{ClusterId, Engine, FIRST, Loaded, Opening, Record};
use crate::{Revision, StoreError};

/// Keeps nothing: what is in the store's memory is all there is.
pub(crate) struct Memory;

impl Memory {
    pub fn open(raise_above: Option<Revision>) -> Opening {
        let offset = raise_above.map_or(0, |r| r.0);
        let cluster = ClusterId(rand::random());
        let loaded = Loaded { sequence: FIRST, offset, cluster, objects: Vec::new(), torn: None };
        Ok((Box::new(Memory), loaded))
    }
}

impl Engine for Memory {
    fn append(&mut self, _group: &[Record]) -> Result<(), StoreError> {
        Ok(())
    }

    fn immediate(&self) -> bool {
        true
    }
}
