//! Paths from a variable to a value.
//!
//! Two paths that continue a third one may share what lies behind it, so that the later one changes the earlier: the sums of
//! the reference depend on it, as slices of its language grow in place while there is room.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Sizes;

/// A path; empty for what no variable leads to.
#[derive(Clone, Default)]
pub(super) struct Path {
    steps: Rc<RefCell<Vec<Arc<str>>>>,
    /// How many steps there is room for, and how many belong to this path.
    room: usize,
    len: usize,
}

impl Path {
    /// To a variable itself.
    pub(super) fn variable(name: Arc<str>) -> Path {
        Path { steps: Rc::new(RefCell::new(vec![name])), room: 1, len: 1 }
    }

    /// One step on.
    pub(super) fn then(&self, step: Arc<str>) -> Path {
        if self.len < self.room {
            let mut steps = self.steps.borrow_mut();
            match steps.get_mut(self.len) {
                Some(taken) => *taken = step,
                None => steps.push(step),
            }
            return Path { steps: self.steps.clone(), room: self.room, len: self.len + 1 };
        }
        let mut steps = self.steps.borrow()[..self.len].to_vec();
        steps.push(step);
        Path { steps: Rc::new(RefCell::new(steps)), room: (2 * self.room).max(1), len: self.len + 1 }
    }

    /// One step on, in a path of its own.
    pub(super) fn apart(&self, step: Arc<str>) -> Path {
        let mut steps = self.steps.borrow()[..self.len].to_vec();
        steps.push(step);
        Path { room: steps.len(), len: steps.len(), steps: Rc::new(RefCell::new(steps)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How large its value may be.
    pub(super) fn most(&self, sizes: &dyn Sizes) -> Option<u64> {
        if self.is_empty() { None } else { sizes.most(&self.steps.borrow()[..self.len]) }
    }
}
