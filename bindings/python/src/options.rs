//! Keyword arguments to options: each value becomes the text that a URL would carry, which the core's
//! schema then judges.

use lighter_cache::config::schema;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyDeltaAccess, PyDict, PyFloat, PyInt, PyString};

/// Options in the order given: name and text.
pub(crate) type Options = Vec<(String, String)>;

/// The options that `keywords` mean. In their names "_" also stands for ".", as in `l1_max_ttl`; a name
/// that no cache has stays as it is, for the core to refuse.
pub(crate) fn of_keywords(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Options> {
    let Some(keywords) = keywords else { return Ok(Options::new()) };
    keywords
        .iter()
        .map(|(name, value)| {
            let name: String = name.extract()?;
            let value = text(&name, &value)?;
            Ok((schema::find_keyword(&name).map_or(name, Into::into), value))
        })
        .collect()
}

/// `value` as a URL would say it. Numbers are seconds or bytes, as the option has it.
fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if value.is_none() {
        Ok("none".into())
    } else if let Ok(text) = value.cast::<PyString>() {
        Ok(text.to_str()?.to_owned())
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Ok(flag.is_true().to_string())
    } else if value.is_instance_of::<PyInt>() {
        Ok(value.py().get_type::<PyInt>().call_method1("__repr__", (value,))?.extract()?)
    } else if let Ok(number) = value.cast::<PyFloat>() {
        // Without an exponent, which `Display` never writes.
        Ok(number.value().to_string())
    } else if let Ok(delta) = value.cast::<PyDelta>() {
        let micros = (i128::from(delta.get_days()) * 86_400 + i128::from(delta.get_seconds()))
            * 1_000_000
            + i128::from(delta.get_microseconds());
        let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
        Ok(format!("{sign}{}.{:06}s", micros / 1_000_000, micros % 1_000_000))
    } else if value.hasattr("__fspath__")? {
        Ok(value.call_method0("__fspath__")?.extract()?)
    } else {
        Err(PyTypeError::new_err(format!(
            "option {name}: str, int, float, bool, timedelta, a path or None, not {}",
            value.get_type().fully_qualified_name()?
        )))
    }
}

/// `options` as the query of a URL.
pub(crate) fn query(options: &Options) -> String {
    let escape = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let one = |byte| if plain(byte) { (byte as char).into() } else { format!("%{byte:02X}") };
        text.bytes().map(one).collect()
    };
    let pairs = options.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}
