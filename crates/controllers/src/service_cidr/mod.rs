//! Services' addresses: the ranges that they come from, and the IPAddress beside each.
//!
//! The server gives addresses and writes both in one transaction; nothing here decides who has one. Ranges are told to be
//! ready, and kept from going while they are needed; IPAddresses that somebody took away or wrote otherwise are put right.

mod addresses;
mod ranges;
#[cfg(test)]
mod tests;

pub(crate) use addresses::ServiceAddresses;
pub(crate) use ranges::ServiceCidrs;
