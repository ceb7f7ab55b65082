//! Building and reading netlink messages: a sixteen-byte header, a family header, attributes padded to four bytes.

use super::flag;

/// One request under construction. The length field and the sequence number are written when it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

/// Set in an attribute's type when its value is itself a list of attributes.
const NESTED: u16 = 1 << 15;

impl Message {
    /// Starts a request of `kind` whose family header (`ifinfomsg`, `rtmsg`, `nfgenmsg`, …) is `header`.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        Self { bytes }
    }

    /// Adds an attribute of raw bytes.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Adds a number in host order, as route attributes have it.
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network order, as nf_tables and conntrack attributes have it.
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string with its closing zero.
    pub fn string(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds an attribute that holds what `build` adds, optionally after a fixed header (veth peers have one).
    pub fn nest(self, kind: u16, build: impl FnOnce(Self) -> Self) -> Self {
        self.nest_with(kind, &[], build)
    }

    /// As [`Message::nest`], with `header` before the inner attributes.
    pub fn nest_with(mut self, kind: u16, header: &[u8], build: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.push(kind | NESTED, header);
        let mut inner = build(self);
        let length = (inner.bytes.len() - start) as u16;
        inner.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        inner
    }

    /// The finished bytes with length and sequence number in place.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// Iterates over the attributes in `bytes`; a torn tail ends the iteration.
pub(crate) fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// The iterator behind [`attributes`]: `(type without flag bits, value)`.
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.rest.get(..4)?;
        let length = u16::from_ne_bytes([head[0], head[1]]) as usize;
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_read_back() {
        let message = Message::new(16, 0, &[0; 16])
            .string(3, "eth0")
            .nest(18, |m| m.string(1, "veth").nest_with(2, &[7; 4], |m| m.u32(9, 5)))
            .u32(4, 1500);
        let bytes = message.finish(77);
        assert_eq!(u32::from_ne_bytes(bytes[0..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(u32::from_ne_bytes(bytes[8..12].try_into().unwrap()), 77);
        let all: Vec<_> = attributes(&bytes[32..]).collect();
        assert_eq!(all[0], (3, &b"eth0\0"[..]));
        assert_eq!(all[2], (4, &1500u32.to_ne_bytes()[..]));
        let inner: Vec<_> = attributes(all[1].1).collect();
        assert_eq!(inner[0], (1, &b"veth\0"[..]));
        let peer: Vec<_> = attributes(&inner[1].1[4..]).collect();
        assert_eq!(peer, vec![(9, &5u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn a_torn_attribute_ends_the_list() {
        assert_eq!(attributes(&[8, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[2, 0, 1, 0]).count(), 0);
    }
}
