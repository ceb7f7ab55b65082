//! Kubernetes' protobuf form of built-in kinds, which Go clients prefer.
//!
//! Objects stay JSON: documents are read to it ([`decode`]) and written from it ([`encode`], [`list`], [`watch_frame`]) along
//! the same table of facts that everything else walks; all that is added is a table of the fields' numbers. Refused: generated
//! messages of every type, which would be a second model of all objects.
//!
//! Everything is pure, bounded in depth, and knows no HTTP. Whatever is unknown in a document is passed over, as newer
//! clients say more than this server knows.

mod decode;
mod encode;
mod envelope;
mod form;
mod list;
mod numbers;
mod scalar;
mod wire;

pub use envelope::{decode, encode, is_spoken, message, watch_frame};
pub use list::{LIST_TAIL, item_len, list, list_head, put_item};

/// How deep messages may nest.
const DEPTH: usize = 64;

/// Bytes that are no such document.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins with something else.
    #[error("it does not begin as a Kubernetes protobuf message")]
    Head,
    /// It is cut off.
    #[error("it ends in the middle of a field")]
    Short,
    /// It is nested too deeply.
    #[error("its messages are nested more than {DEPTH} deep")]
    Depth,
    /// Text is none.
    #[error("text in it is not UTF-8")]
    Text,
    /// A field is of another form than its type.
    #[error("a field has a form that its type does not have")]
    Form,
}

/// An object that cannot be written, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object cannot be written in protobuf: {0}")]
pub struct Unwritable(String);

#[cfg(test)]
mod tests;
