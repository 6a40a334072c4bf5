//! Least recently used, exactly.

use super::Contender;
use super::list::List;

pub struct Lru {
    capacity: usize,
    list: List,
}

impl Lru {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, list: List::new() }
    }
}

impl Contender for Lru {
    fn get_or_insert(&mut self, key: u64) -> bool {
        if let Some(at) = self.list.find(key) {
            self.list.renew(at);
            return true;
        }
        if self.list.len() >= self.capacity
            && let Some(at) = self.list.first()
        {
            self.list.remove(at);
        }
        self.list.push(key, 0);
        false
    }
}
