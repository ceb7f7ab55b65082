//! Contents follow.
