//! The turn of a task, which may be cancelled at each of its waits.

use std::future::Future;

use super::table::Turn;
use crate::error::Result;

/// A [`Turn`] that is given up where it is dropped, with the future of its task: another one of those who
/// wait loads then. They would be told of a failed load otherwise.
pub(crate) struct Cancellable<'a, T: Clone>(Option<Turn<'a, T>>);

impl<'a, T: Clone> Cancellable<'a, T> {
    pub(crate) fn new(turn: Turn<'a, T>) -> Self {
        Self(Some(turn))
    }

    /// As [`Turn::inside`].
    pub(crate) async fn inside<F: Future>(&self, loader: F) -> F::Output {
        match &self.0 {
            Some(turn) => turn.inside(loader).await,
            None => loader.await,
        }
    }

    /// As [`Turn::land`].
    pub(crate) fn land(mut self, result: Result<T>) {
        if let Some(turn) = self.0.take() {
            turn.land(result);
        }
    }
}

impl<T: Clone> Drop for Cancellable<'_, T> {
    fn drop(&mut self) {
        if let Some(turn) = self.0.take() {
            turn.give_up();
        }
    }
}
