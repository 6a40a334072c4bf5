//! Keys in an order, with a number beside each: what the textbook policies are made of.

use crate::ids::IdMap;

const NONE: u32 = u32::MAX;

struct Node {
    key: u64,
    note: u8,
    before: u32,
    after: u32,
}

/// A list of keys, each of which is found at once. Places stay valid until their key is removed.
pub struct List {
    index: IdMap<u32>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    front: u32,
    back: u32,
}

impl List {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            index: IdMap::default(),
            nodes: Vec::new(),
            free: Vec::new(),
            front: NONE,
            back: NONE,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Where a key is.
    pub fn find(&self, key: u64) -> Option<u32> {
        self.index.get(&key).copied()
    }

    /// Adds a key, which must be new, at the end.
    pub fn push(&mut self, key: u64, note: u8) {
        let node = Node { key, note, before: NONE, after: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        };
        self.index.insert(key, at);
        self.link(at);
    }

    /// The place of the first key.
    pub fn first(&self) -> Option<u32> {
        Some(self.front).filter(|at| *at != NONE)
    }

    /// The place after one.
    pub fn next(&self, at: u32) -> Option<u32> {
        Some(self.nodes[at as usize].after).filter(|at| *at != NONE)
    }

    /// The number beside the key at a place.
    pub fn note(&mut self, at: u32) -> &mut u8 {
        &mut self.nodes[at as usize].note
    }

    /// Moves the key at a place to the end.
    pub fn renew(&mut self, at: u32) {
        self.unlink(at);
        self.link(at);
    }

    /// Removes the key at a place.
    pub fn remove(&mut self, at: u32) -> u64 {
        self.unlink(at);
        let key = self.nodes[at as usize].key;
        self.index.remove(&key);
        self.free.push(at);
        key
    }

    fn link(&mut self, at: u32) {
        let last = std::mem::replace(&mut self.back, at);
        self.nodes[at as usize].before = last;
        self.nodes[at as usize].after = NONE;
        match last {
            NONE => self.front = at,
            last => self.nodes[last as usize].after = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Node { before, after, .. } = self.nodes[at as usize];
        match before {
            NONE => self.front = after,
            before => self.nodes[before as usize].after = after,
        }
        match after {
            NONE => self.back = before,
            after => self.nodes[after as usize].before = before,
        }
    }
}
