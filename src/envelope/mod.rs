//! The only module that knows bincode: typed values of the Rust API ([`typed`]).

pub(crate) mod typed;
