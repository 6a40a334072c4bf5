//! The protections that the protocol consists of, by name. All are always on; a test can switch one off
//! to show that the simulation then finds a violation, that is, that both are needed.

/// One protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// A fill is refused when its token was voided (R1).
    Token,
    /// A fill is refused while a write of this process is on its way.
    WritesUnderWay,
    /// Of overlapping writes the last to end lets go of the L1 entry (R4).
    Overlap,
    /// A new subscription distrusts everything older (R6).
    Epoch,
    /// Trust runs out by the clock of the reader (R6).
    Watchdog,
    /// `FLUSHALL`'s null empties L1 (R7).
    Flush,
    /// A fill's TTL counts from the asking (R9).
    AskedTtl,
    /// A queued write's TTL counts from the call.
    QueuedTtl,
    /// Reads consult the queue before L2.
    Tombstone,
    /// A replay spares other processes' values. (In the server's script, so in its model too.)
    #[cfg_attr(not(test), expect(dead_code, reason = "it is the script's"))]
    Condition,
    /// A replay may replace what this process last saw.
    Seen,
    /// A replay may replace this process's own unconfirmed writes.
    OwnUnconfirmed,
    /// What was last seen is remembered when L1 lets go of a key.
    Memory,
    /// An acknowledged write takes older queued ones out.
    ReplayOrder,
    /// No direct write beside the replay of its key.
    Exclusion,
    /// A clear takes out what was queued before it, and nothing passes it.
    Barrier,
    /// What lost against another process's value leaves L1.
    LetGo,
}

/// Which protections are on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Protections {
    #[cfg(test)]
    pub(super) off: Option<Protection>,
}

impl Protections {
    #[inline]
    pub(super) fn has(self, protection: Protection) -> bool {
        #[cfg(test)]
        return self.off != Some(protection);
        #[cfg(not(test))]
        {
            let _ = protection;
            true
        }
    }
}
