//! [`Value`]: pinned, immutable, reference-counted bytes.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::Result;

/// A value read from a cache: pinned, immutable bytes that any number of holders share.
#[derive(Clone, Debug)]
pub struct Value(Arc<(usize, Vec<u8>)>);

impl Value {
    /// Copies `bytes`. [`crate::ErrorKind::NoMemory`] where there is none.
    pub fn copy_from(bytes: &[u8]) -> Result<Self> {
        Self::from_vec(bytes.to_vec(), 0)
    }

    /// Takes `bytes` over without a copy; the value begins at `start`.
    pub fn from_vec(bytes: Vec<u8>, start: usize) -> Result<Self> {
        Ok(Self(Arc::new((start, bytes))))
    }

    /// Copies the value to the front of `buf` if it fits, and returns its length.
    pub fn copy_into(&self, buf: &mut [MaybeUninit<u8>]) -> usize {
        if let Some(front) = buf.get_mut(..self.len()) {
            front.write_copy_of_slice(self);
        }
        self.len()
    }
}

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0.1[self.0.0..]
    }
}
