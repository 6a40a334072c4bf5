//! The redis crate's blocking `Connection` behind C functions, one connection for each caller.

use std::ffi::{CStr, c_char, c_int};
use std::slice;

use redis::io::tcp::TcpSettings;
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo};

/// Connects; NULL where that fails. `url`: `redis://HOST:PORT` or `redis+unix:///PATH`.
///
/// # Safety
/// `url` is a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rr_connect(url: *const c_char) -> *mut Connection {
    // SAFETY: the caller's promise.
    let url = unsafe { CStr::from_ptr(url) }.to_string_lossy();
    let made = url.as_ref().into_connection_info().and_then(|info: ConnectionInfo| {
        let tcp = TcpSettings::default().set_nodelay(true);
        Client::open(info.set_tcp_settings(tcp))?.get_connection()
    });
    made.map_or(std::ptr::null_mut(), |connection| Box::into_raw(Box::new(connection)))
}

/// GET into `buf`; the length of the value, or -1.
///
/// # Safety
/// The connection is of [`rr_connect`] and nobody else's at this time; key and buffer have the lengths given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rr_get(
    connection: *mut Connection,
    key: *const u8,
    key_len: usize,
    buf: *mut u8,
    cap: usize,
) -> isize {
    // SAFETY: the caller's promise.
    let (connection, key) = unsafe { (&mut *connection, slice::from_raw_parts(key, key_len)) };
    match redis::cmd("GET").arg(key).query::<Vec<u8>>(connection) {
        Ok(value) if value.len() <= cap => {
            // SAFETY: the buffer has room.
            unsafe { buf.copy_from_nonoverlapping(value.as_ptr(), value.len()) };
            value.len() as isize
        }
        _ => -1,
    }
}

/// SET; 0, or -1.
///
/// # Safety
/// As for [`rr_get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rr_set(
    connection: *mut Connection,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let (connection, key, value) = unsafe {
        (
            &mut *connection,
            slice::from_raw_parts(key, key_len),
            slice::from_raw_parts(value, value_len),
        )
    };
    match redis::cmd("SET").arg(key).arg(value).exec(connection) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}
