//! SIEVE (Zhang et al., NSDI 2024): a FIFO with a bit per entry, and a hand that takes out the first entry
//! without it, from where it stopped the last time.

use super::Contender;
use super::list::List;

pub struct Sieve {
    capacity: usize,
    list: List,
    hand: Option<u32>,
}

impl Sieve {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, list: List::new(), hand: None }
    }

    fn evict(&mut self) {
        let mut hand = self.hand.or_else(|| self.list.first());
        while let Some(at) = hand {
            let next = self.list.next(at);
            if std::mem::take(self.list.note(at)) == 0 {
                self.list.remove(at);
                self.hand = next;
                return;
            }
            hand = next.or_else(|| self.list.first());
        }
    }
}

impl Contender for Sieve {
    fn get_or_insert(&mut self, key: u64) -> bool {
        if let Some(at) = self.list.find(key) {
            *self.list.note(at) = 1;
            return true;
        }
        if self.list.len() >= self.capacity {
            self.evict();
        }
        self.list.push(key, 0);
        false
    }
}
