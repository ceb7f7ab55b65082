//! Lists that are written piece by piece: a list of a hundred thousand objects need not be held to be sent.
//!
//! A message says its length before it begins, so the lengths of all items must be known first; the items themselves
//! can be made when they are sent.

use bytes::{BufMut, Bytes};
use naru_api::schema::Types;
use serde_json::Value;

use crate::Unwritable;
use crate::encode::Writer;
use crate::envelope::{TAIL, opened};
use crate::form::put_list_metadata;
use crate::wire::put_length;

/// How a list ends.
pub const LIST_TAIL: &[u8] = TAIL;

/// Writes a list from the messages of its items; `metadata` is the list's own.
///
/// # Errors
/// For metadata that is none.
pub fn list<I>(api_version: &str, list_kind: &str, metadata: &Value, items: I) -> Result<Bytes, Unwritable>
where
    I: IntoIterator<Item: AsRef<[u8]>, IntoIter: Clone>,
{
    let items = items.into_iter();
    let lengths = items.clone().map(|item| item.as_ref().len());
    let mut out = list_head(api_version, list_kind, metadata, lengths)?;
    for item in items {
        put_item(&mut out, item.as_ref());
    }
    out.extend_from_slice(LIST_TAIL);
    Ok(out.into())
}

/// How a list begins whose items have messages of these lengths. They follow one by one ([`put_item`]), then comes
/// [`LIST_TAIL`].
///
/// # Errors
/// For metadata that is none.
pub fn list_head(
    api_version: &str,
    list_kind: &str,
    metadata: &Value,
    lengths: impl Iterator<Item = usize>,
) -> Result<Vec<u8>, Unwritable> {
    let mut own = Vec::with_capacity(64);
    put_list_metadata(&Writer { types: &Types::builtin() }, &mut own, metadata)?;
    let mut out = opened(api_version, list_kind, own.len());
    put_length(&mut out, 2, own.len() + lengths.map(item_len).sum::<usize>());
    out.extend_from_slice(&own);
    Ok(out)
}

/// Writes an item of a list.
pub fn put_item(out: &mut impl BufMut, message: &[u8]) {
    put_length(out, 2, message.len());
    out.put_slice(message);
}

/// How long the item of a list is whose message has this length.
pub fn item_len(message: usize) -> usize {
    // A byte says which field it is; then the length, seven bits a byte, and one byte at least.
    let bits = usize::BITS - (message | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_as_long_as_is_said() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut out = Vec::new();
            put_item(&mut out, &vec![b'x'; length]);
            assert_eq!(out.len(), item_len(length), "{length}");
        }
    }
}
