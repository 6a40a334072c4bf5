//! Whether an order of the operations on one key explains what they answered: the search of Wing and Gong
//! (1993), with Lowe's (2017) memory of the places that were searched already.
//!
//! An operation takes effect at one moment between its call and its return. So the next one in an order is
//! any that was called before the first return among those that are left; what a return says must be what
//! [`spec`](super::spec) answers there.
//!
//! Operations are atomic per key and keys do not depend on each other, so each key is looked at alone
//! (Herlihy and Wing 1990, locality). A history is cut where no operation is under way: what is left of a
//! part is the set of all states in which it may have ended.

use std::collections::{BTreeSet, HashSet};

use super::spec::{Event, Rules, State, step};

/// Most events of one part.
pub(super) const EVENTS_MAX: usize = 128;

/// All states in which the key may be after `events`, if it was in one of `begin` before. None: no order
/// of them explains the answers.
pub(super) fn ends(begin: &BTreeSet<State>, events: &[Event], rules: Rules) -> BTreeSet<State> {
    assert!(events.len() <= EVENTS_MAX);
    let all = if events.len() == EVENTS_MAX { !0 } else { (1_u128 << events.len()) - 1 };
    let mut ends = BTreeSet::new();
    let mut seen: HashSet<(u128, State)> = HashSet::new();
    let mut left: Vec<(u128, State)> = begin.iter().map(|state| (0, *state)).collect();
    while let Some((done, state)) = left.pop() {
        if !seen.insert((done, state)) {
            continue;
        }
        if done == all {
            ends.insert(state);
            continue;
        }
        let undone = || events.iter().enumerate().filter(|(i, _)| done & 1 << i == 0);
        let first_return = undone().map(|(_, event)| event.end).min().unwrap_or(0);
        for (i, event) in undone().filter(|(_, event)| event.start < first_return) {
            left.extend(step(state, event, rules).into_iter().map(|next| (done | 1 << i, next)));
        }
    }
    ends
}
