//! The redis crate behind C functions: its blocking `Connection`, one for each caller; and its client-side cache on a
//! `ConnectionManager`, which connects again by itself.

use std::ffi::{CStr, c_char, c_int};
use std::slice;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::caching::CacheConfig;
use redis::io::tcp::TcpSettings;
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, RedisResult};
use tokio::runtime::{Builder, Runtime};

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

/// A connection with a cache, and the runtime that it lives on.
pub struct Cached {
    runtime: Runtime,
    manager: ConnectionManager,
}

/// Connects, with a cache of all that is read; NULL where that fails.
///
/// # Safety
/// As for [`rr_connect`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rr_cached_connect(url: *const c_char, patience_ms: u64) -> *mut Cached {
    // SAFETY: the caller's promise.
    let url = unsafe { CStr::from_ptr(url) }.to_string_lossy().into_owned() + "?protocol=resp3";
    let patience = Some(Duration::from_millis(patience_ms));
    let config = ConnectionManagerConfig::new()
        .set_cache_config(CacheConfig::new())
        .set_response_timeout(patience)
        .set_connection_timeout(patience);
    let made = || -> RedisResult<Cached> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = Client::open(url)?;
        let manager = runtime.block_on(client.get_connection_manager_with_config(config))?;
        Ok(Cached { runtime, manager })
    };
    made().map_or(std::ptr::null_mut(), |cached| Box::into_raw(Box::new(cached)))
}

/// GET of a number through the cache; -1 for none, -2 for an error.
///
/// # Safety
/// The connection is of [`rr_cached_connect`] and nobody else's at this time; the key has the length given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rr_cached_get(cached: *mut Cached, key: *const u8, len: usize) -> i64 {
    // SAFETY: the caller's promise.
    let (cached, key) = unsafe { (&mut *cached, slice::from_raw_parts(key, len)) };
    let Cached { runtime, manager } = cached;
    let reply = runtime.block_on(redis::cmd("GET").arg(key).query_async::<Option<i64>>(manager));
    reply.map_or(-2, |number| number.unwrap_or(-1))
}
