//! Link arguments of the C library alone: cargo gives a `cdylib` no soname by itself.

/// The number in the soname. It grows when, and only when, a program built against an older
/// header would no longer work; the crate's version says nothing about that.
const SOVERSION: u32 = 0;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liblighter_cache.so.{SOVERSION}");
        // Threads of the library may still be running when a host unloads it with dlclose.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
