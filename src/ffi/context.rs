//! What belongs to the program and is kept beside a callback: its `ctx`, and how it is given back.

use std::ffi::c_void;

use crate::runtime;

/// A `ctx` with its `destroy`, which is called when this is dropped: once, wherever a registration ends,
/// also where it never began.
pub(super) struct Context {
    ctx: *mut c_void,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
}

// SAFETY: the header says that the callbacks and `destroy` are called on any thread, the callbacks on
// several at once; whoever passes `ctx` has agreed to that.
unsafe impl Send for Context {}
// SAFETY: as for `Send`.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new(
        ctx: *mut c_void,
        destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> Self {
        Self { ctx, destroy }
    }

    /// What the callback is passed.
    pub(super) fn pointer(&self) -> *mut c_void {
        self.ctx
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            let _scope = runtime::library_thread_scope();
            // SAFETY: the program promised a function of this type; it is called once, last.
            unsafe { destroy(self.ctx) };
        }
    }
}
