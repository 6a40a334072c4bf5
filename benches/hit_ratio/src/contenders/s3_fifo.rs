//! S3-FIFO (Yang et al., SOSP 2023): a small FIFO of a tenth of the capacity, a main one with counters, and
//! a FIFO of ghosts as long as main.

use super::Contender;
use super::list::List;

const COUNT_MAX: u8 = 3;

pub struct S3Fifo {
    capacity: usize,
    small_target: usize,
    small: List,
    main: List,
    ghosts: List,
}

impl S3Fifo {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            small_target: (capacity / 10).max(1),
            small: List::new(),
            main: List::new(),
            ghosts: List::new(),
        }
    }

    fn evict(&mut self) {
        let from_small = self.small.len() >= self.small_target || self.main.len() == 0;
        if from_small && self.evict_small() {
            return;
        }
        self.evict_main();
    }

    /// False where all that was in small has moved to main.
    fn evict_small(&mut self) -> bool {
        while let Some(at) = self.small.first() {
            let used = *self.small.note(at) > 1;
            let key = self.small.remove(at);
            if used {
                self.main.push(key, 0);
                continue;
            }
            if self.ghosts.len() >= self.capacity - self.small_target
                && let Some(oldest) = self.ghosts.first()
            {
                self.ghosts.remove(oldest);
            }
            self.ghosts.push(key, 0);
            return true;
        }
        false
    }

    fn evict_main(&mut self) {
        while let Some(at) = self.main.first() {
            if *self.main.note(at) == 0 {
                self.main.remove(at);
                return;
            }
            *self.main.note(at) -= 1;
            self.main.renew(at);
        }
    }
}

impl Contender for S3Fifo {
    fn get_or_insert(&mut self, key: u64) -> bool {
        for list in [&mut self.small, &mut self.main] {
            if let Some(at) = list.find(key) {
                let count = list.note(at);
                *count = (*count + 1).min(COUNT_MAX);
                return true;
            }
        }
        if self.small.len() + self.main.len() >= self.capacity {
            self.evict();
        }
        match self.ghosts.find(key) {
            Some(at) => {
                self.ghosts.remove(at);
                self.main.push(key, 0);
            }
            None => self.small.push(key, 0),
        }
        false
    }
}
